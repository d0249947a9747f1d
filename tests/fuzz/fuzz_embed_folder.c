/* fuzz_embed_folder.c - any bytes as the files of a sentence-transformers folder, parted by bytes 1: refused
 * with an error, or a plan that stays within the folder and can be carried out. */
#include "fuzz.h"
#include <evaluate/embed.h>
#include <string.h>
#include <unistd.h>

#define TRANSFORMER "{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"}"
#define POOLING "{\"idx\":1,\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}"
const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("[" TRANSFORMER "," POOLING
              "]\1{\"pooling_mode_mean_tokens\":true}\1{\"max_seq_length\":256}\1{}"),
    FUZZ_SEED("[" TRANSFORMER "," POOLING
              ",{\"path\":\"2\",\"type\":\"a.Normalize\"}]\1{\"pooling_mode\":\"cls\","
              "\"include_prompt\":true}\1{\"do_lower_case\":false}\1{\"prompts\":{\"q\":\"x: \"},"
              "\"default_prompt_name\":\"q\"}"),
    FUZZ_SEED("[{\"type\":\"Transformer\",\"path\":\"0/../"
              "..\"},{\"type\":\"Pooling\",\"path\":\"1_Pooling\"}]\1{}"),
    {NULL, 0}};
const char *const fuzz_words[] = {
    "../", "true", "null", "-1", "1e300", "9223372036854775808", "\"pooling_mode\":", "\"max\"", "\1", NULL};

static char folder[64];

static void clean(void) {
    ct_context *context = ct_context_create(1);
    ct_folder_remove(context, folder);
    ct_context_destroy(context);
}

static ct_context *begin(void) {
    ct_context *context = ct_context_create(1);
    strcpy(folder, "/tmp/carat-fuzz-embed-XXXXXX");
    FUZZ_CHECK(context && mkdtemp(folder));
    atexit(clean);
    char inner[80];
    snprintf(inner, sizeof(inner), "%s/1_Pooling", folder);
    FUZZ_CHECK(ct_folder_make(context, inner) == CT_OK);
    return context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
                                        "config_sentence_transformers.json"};
    static ct_context *context;
    if (!context) context = begin();
    for (int i = 0; i < 4; i++) {
        const uint8_t *end = size ? memchr(data, 1, size) : NULL;
        size_t part = end && i < 3 ? (size_t)(end - data) : size;
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        FILE *file = fopen(path, "wb");
        FUZZ_CHECK(file && fwrite(data, 1, part, file) == part && fclose(file) == 0);
        if (part == 0) FUZZ_CHECK(unlink(path) == 0);
        size_t passed = part < size ? part + 1 : size;
        data += passed;
        size -= passed;
    }
    ct_embed_plan plan;
    ct_status status = ct_embed_plan_read(context, folder, &plan);
    FUZZ_CHECK((status == CT_OK) == !ct_failed(context));
    if (status == CT_OK) {
        FUZZ_CHECK(plan.pooling >= CT_POOL_MEAN && plan.pooling <= CT_POOL_MAX && plan.max_seq_length >= 0);
        FUZZ_CHECK(strncmp(plan.model_folder, folder, strlen(folder)) == 0 &&
                   !strstr(plan.model_folder, "/.."));
        FUZZ_CHECK(!plan.prompt || *plan.prompt);
    }
    ct_embed_plan_free(context, &plan);
    ct_context_clear(context);
    return 0;
}
