/* statistics.c - what an optimizer tells of each parameter in a step, for logs. */
#include "optimizer/internal.h"
#include <math.h>

static const char *const common[] = {"norm", "relative_update"};

ct_status ct_optimizer_record(ct_optimizer *optimizer, bool on) {
    ct_context *context = optimizer->context;
    size_t size = (size_t)optimizer->statistic_count * sizeof(double);
    optimizer->record = on;
    for (int64_t i = 0; i < optimizer->count; i++) {
        ct_entry *e = &optimizer->entries[i];
        if (!on) {
            ct_free(context, e->statistics);
            e->statistics = NULL;
        }
        if (!on || e->statistics) continue;
        e->statistics = ct_alloc(context, size, CT_MEMORY_OTHER);
        if (!e->statistics) return CT_ERROR_MEMORY;
        for (int s = 0; s < optimizer->statistic_count; s++)
            e->statistics[s] = NAN;
    }
    return ct_context_status(context);
}

int ct_optimizer_statistic_count(const ct_optimizer *optimizer) {
    return optimizer->statistic_count;
}

const char *ct_optimizer_statistic_name(const ct_optimizer *optimizer, int index) {
    if (index >= 0 && index < 2) return common[index];
    for (int m = 0; m < optimizer->member_count; m++) {
        int at = index - optimizer->members[m].first_statistic;
        if (at >= 0 && at < optimizer->members[m].statistic_count)
            return optimizer->members[m].statistics[at];
    }
    return NULL;
}

double ct_optimizer_statistic(const ct_optimizer *optimizer, int64_t parameter, int index) {
    if (parameter < 0 || parameter >= optimizer->count || index < 0 || index >= optimizer->statistic_count)
        return NAN;
    const double *statistics = optimizer->entries[parameter].statistics;
    return statistics ? statistics[index] : NAN;
}

static const char *const *words_of(const ct_optimizer *optimizer, int index) {
    const ct_member *method = &optimizer->members[0]; /* links tell quantities */
    int at = index - method->first_statistic;
    bool has =
        method->optimizer && method->optimizer->statistic_words && at >= 0 && at < method->statistic_count;
    return has ? method->optimizer->statistic_words[at] : NULL;
}

bool ct_optimizer_statistic_is_word(const ct_optimizer *optimizer, int index) {
    return words_of(optimizer, index) != NULL;
}

const char *ct_optimizer_statistic_word(const ct_optimizer *optimizer, int index, double value) {
    const char *const *words = words_of(optimizer, index);
    for (int i = 0; words && words[i]; i++)
        if (value == i) return words[i];
    return NULL;
}
