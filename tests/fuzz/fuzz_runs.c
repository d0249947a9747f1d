/* fuzz_runs.c - any bytes as a CSV file of runs: refused with an error, or every number is there. */
#include "fuzz_file.h"
#include <carat/fit.h>

const fuzz_seed fuzz_seeds[] = {FUZZ_SEED("tokens,loss\n1000,4.5\n2e3, 4.25\r\n\n"),
                                FUZZ_SEED("seed,loss,tokens\n1,3,4\n2,3,4,5\n"),
                                {NULL, 0}};
const char *const fuzz_words[] = {"tokens", "loss", ",", "\n", "1e309", "-0", "nan", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    double *x, *loss, sum = 0;
    int64_t count;
    if (!context) context = ct_context_create(1);
    ct_status status = ct_fit_read(context, fuzz_file(data, size), "tokens", "loss", &x, &loss, &count);
    FUZZ_CHECK((status != CT_OK) == ct_failed(context));
    for (int64_t i = 0; i < count; i++)
        sum += x[i] + loss[i];
    FUZZ_CHECK(sum == sum || count > 0);
    ct_free(context, x);
    ct_free(context, loss);
    ct_context_clear(context);
    return 0;
}
