/* sft.h - data for supervised fine-tuning: dialogues through a chat template into samples whose labels mark
 * what is to be learnt. The recipe: Pareja et al., "Unveiling the Secret Recipe", arXiv:2412.13337; names as
 * in Hugging Face's TRL (SFTConfig). */
#ifndef CARAT_SFT_H
#define CARAT_SFT_H

#include <carat/chat.h>
#include <carat/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------------------------- files ----- */

typedef struct ct_sft_options {
    const char *chat_template; /* as ct_chat_open has it: a built-in's name, a file, or "model" */
    int64_t max_length; /* tokens of a sample; what is beyond is cut off */
    bool assistant_only_loss;
    const char *folder; /* no option: of the tokenizer or model that "model" means; NULL: there is none */
} ct_sft_options;
/* Their entries in an option table of a struct that has them in `field_`. */
#define CT_SFT_OPTIONS(struct_, field_)                                                                      \
    CT_OPTION_STRING("chat_template", struct_, field_.chat_template, "chatml",                               \
                     "sft: how dialogues are written: chatml, gemma, llama2, llama3, plain, zephyr, a "      \
                     "template's file, or model: what the tokenizer's folder carries"),                      \
        CT_OPTION_INT("max_length", struct_, field_.max_length, 0, 0, 1e8,                                   \
                      "sft: tokens of a sample, what is beyond is cut off; 0: as many as a row has"),        \
        CT_OPTION_BOOL("assistant_only_loss", struct_, field_.assistant_only_loss, true,                     \
                       "sft: only answers are learnt, and that they end; else all tokens")

typedef struct ct_sft_counts {
    int64_t records, samples;  /* read; kept */
    int64_t without_answer;    /* no assistant's turn, or an empty one: left out */
    int64_t answer_cut;        /* max_length leaves nothing of the answers: left out */
    int64_t truncated;         /* kept, but not whole */
    int64_t tokens, targets;   /* of the samples kept */
    int64_t shortest, longest; /* tokens */
} ct_sft_counts;

/* Appends the records of a .jsonl file, each {"messages": [{"role", "content"}, ...]}, with {"tools": [...]}
 * where the template knows them, or {"prompt", "completion"}. Prompt and completion are lists of messages too
 * (only the completion's are learnt), or two texts, which no template touches: the completion is learnt with
 * the tokenizer's eos behind it, if it has one. */
ct_status ct_sft_read(ct_context *context, const char *path, ct_tokenizer *tokenizer,
                      const ct_sft_options *options, ct_sample_list *list, ct_sft_counts *counts);
/* The dialogues as plain text, for the training of tokenizers. */
ct_status ct_sft_text(ct_context *context, const char *path, const ct_sft_options *options, ct_bytes *text);

#ifdef __cplusplus
}
#endif
#endif
