/* fuzz_ensemble.c - any bytes as the manifest of an ensemble: refused with an error, or 1 to 64 folders. */
#include "fuzz_file.h"
#include <carat/ensemble.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"carat_ensemble\": 1, \"average\": \"logits\", \"members\": [\"a\", \"/b\", \"../c\"]}"),
    FUZZ_SEED("{\"carat_ensemble\": 1, \"average\": \"probabilities\", \"members\": [\"\"]}"),
    FUZZ_SEED("{\"carat_ensemble\": 2, \"members\": 3}"),
    {NULL, 0}};
const char *const fuzz_words[] = {
    "\"carat_ensemble\"", "\"members\"", "\"average\"", "[", "]", "1", "null", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    ct_ensemble_average average;
    if (!context) context = ct_context_create(1);
    ct_value *folders = ct_ensemble_folders(context, fuzz_file(data, size), &average);
    FUZZ_CHECK((folders == NULL) == ct_failed(context));
    if (folders) {
        size_t count = ct_value_count(folders);
        FUZZ_CHECK(count >= 1 && count <= CT_ENSEMBLE_MOST);
        FUZZ_CHECK(average == CT_AVERAGE_LOGITS || average == CT_AVERAGE_PROBABILITIES);
        for (size_t i = 0; i < count; i++)
            FUZZ_CHECK(ct_value_as_string(ct_value_at(folders, i), NULL) != NULL);
    }
    ct_value_free(folders);
    ct_context_clear(context);
    return 0;
}
