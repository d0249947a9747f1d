/* sft.h - data for supervised fine-tuning: dialogues through a chat template into samples whose labels mark
 * what is to be learnt. The recipe: Pareja et al., "Unveiling the Secret Recipe", arXiv:2412.13337; names as
 * in Hugging Face's TRL (SFTConfig). */
#ifndef CARAT_SFT_H
#define CARAT_SFT_H

#include <carat/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------- chat templates ----- */

/* A turn. role: "system", "user" or "assistant". */
typedef struct ct_chat_message {
    const char *role, *content;
    size_t length; /* of content */
} ct_chat_message;

/* Built-in templates, by name:
 *   chatml  <|im_start|>ROLE\n CONTENT <|im_end|>\n for every turn
 *   llama2  <s>[INST] <<SYS>>\nSYSTEM\n<</SYS>>\n\nUSER [/INST] ASSISTANT </s>; <s> and </s> are the
 * tokenizer's bos and eos llama3  <|begin_of_text|>, then <|start_header_id|>ROLE<|end_header_id|>\n\n
 * CONTENT <|eot_id|> plain   <ROLE>CONTENT</ROLE>, for tokenizers without tokens of their own for it A
 * template's marks become special tokens where the tokenizer has them; what a dialogue says never does. Marks
 * and contents are encoded each by itself, so that every token is one or the other. */
typedef struct ct_chat_template ct_chat_template;
const ct_chat_template *ct_chat_template_find(ct_context *context, const char *name);
size_t ct_chat_template_count(void);
const char *ct_chat_template_name(size_t index);
/* Appends a dialogue. Labels are the ids of the assistant's contents and of the mark that ends its turn, else
 * CT_LABEL_NONE; with !answers_only those of all tokens. `where` begins messages ("data.jsonl:3"). Unknown
 * roles, and orders of roles that the template does not have, are errors. */
ct_status ct_chat_encode(ct_context *context, ct_tokenizer *tokenizer, const ct_chat_template *chat,
                         const ct_chat_message *messages, size_t count, bool answers_only, const char *where,
                         ct_ids *ids, ct_ids *labels);

/* -------------------------------------------------------------------------------------------- files ----- */

typedef struct ct_sft_options {
    const char *chat_template; /* a built-in's name */
    int64_t max_length;        /* tokens of a sample; what is beyond is cut off */
    bool assistant_only_loss;
} ct_sft_options;
/* Their entries in an option table of a struct that has them in `field_`. */
#define CT_SFT_OPTIONS(struct_, field_)                                                                      \
    CT_OPTION_STRING("chat_template", struct_, field_.chat_template, "chatml",                               \
                     "sft: how dialogues are written: chatml, llama2, llama3 or plain"),                     \
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

/* Appends the records of a .jsonl file, each {"messages": [{"role", "content"}, ...]} or {"prompt",
 * "completion"}. Prompt and completion are lists of messages too (only the completion's are learnt), or two
 * texts, which no template touches: the completion is learnt with the tokenizer's eos behind it, if it has
 * one. */
ct_status ct_sft_read(ct_context *context, const char *path, ct_tokenizer *tokenizer,
                      const ct_sft_options *options, ct_sample_list *list, ct_sft_counts *counts);
/* The dialogues as plain text, for the training of tokenizers. */
ct_status ct_sft_text(ct_context *context, const char *path, const ct_sft_options *options, ct_bytes *text);

#ifdef __cplusplus
}
#endif
#endif
