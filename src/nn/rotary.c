/* rotary.c - frequencies of rotary positions (Su et al., arXiv:2104.09864) and how they are stretched for
 * longer texts:
 *   linear   f / factor (S. Chen et al., arXiv:2306.15595)
 *   llama3   long waves f / factor, short ones f, a blend between (Llama 3.1, arXiv:2407.21783)
 *   yarn     the same by the number of turns within the old length, cosines and sines scaled
 *            (Peng et al., arXiv:2309.00071)
 * Frequencies and angles are rounded to f32, as the networks saw them when they were trained. */
#include "nn/rotary.h"
#include "nn/positions.h"
#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

typedef struct rotary_options {
    const char *rope_type;
    double rope_theta, factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attention_factor,
        mscale, mscale_all_dim, partial_rotary_factor;
    int64_t original_max_position_embeddings;
    bool truncate;
} rotary_options;

static const ct_option rotary_table[] = {
    CT_OPTION_STRING("rope_type", rotary_options, rope_type, "default", "default, linear, llama3 or yarn"),
    CT_OPTION_REAL("rope_theta", rotary_options, rope_theta, 10000, 1e-6, 1e15, "base of the frequencies"),
    CT_OPTION_REAL("factor", rotary_options, factor, 1, 1e-6, 1e9, "by which texts become longer"),
    CT_OPTION_REAL("low_freq_factor", rotary_options, low_freq_factor, 1, 1e-6, 1e9,
                   "llama3: waves longer than the old length divided by this are stretched"),
    CT_OPTION_REAL("high_freq_factor", rotary_options, high_freq_factor, 4, 1e-6, 1e9,
                   "llama3: waves shorter than the old length divided by this stay"),
    CT_OPTION_INT("original_max_position_embeddings", rotary_options, original_max_position_embeddings, 0, 1,
                  1e12, "the old length"),
    CT_OPTION_REAL("attention_factor", rotary_options, attention_factor, 0, 0, 1e6,
                   "yarn: of cosines and sines; 0: 0.1 log(factor) + 1"),
    CT_OPTION_REAL("beta_fast", rotary_options, beta_fast, 32, 0, 1e9,
                   "yarn: with more turns a frequency stays"),
    CT_OPTION_REAL("beta_slow", rotary_options, beta_slow, 1, 0, 1e9, "yarn: with fewer it is stretched"),
    CT_OPTION_REAL("mscale", rotary_options, mscale, 0, 0, 1e6,
                   "yarn: in place of attention_factor, with the next"),
    CT_OPTION_REAL("mscale_all_dim", rotary_options, mscale_all_dim, 0, 0, 1e6, "yarn: see mscale"),
    CT_OPTION_BOOL("truncate", rotary_options, truncate, true,
                   "yarn: the blend begins and ends at whole channels"),
    CT_OPTION_REAL("partial_rotary_factor", rotary_options, partial_rotary_factor, 1, 0, 1,
                   "share of the channels that turn: only 1"),
    CT_OPTION_END};

/* ------------------------------------------------------------------------------------------ frequencies */

static void stretch_llama3(const rotary_options *o, int64_t half, float *frequency) {
    double old = (double)o->original_max_position_embeddings;
    double longest = old / o->low_freq_factor, shortest = old / o->high_freq_factor;
    for (int64_t i = 0; i < half; i++) {
        double f = frequency[i], wave = 2 * PI / f;
        double blend = (old / wave - o->low_freq_factor) / (o->high_freq_factor - o->low_freq_factor);
        if (wave > longest)
            frequency[i] = (float)(f / o->factor);
        else if (wave >= shortest)
            frequency[i] = (float)((1 - blend) * f / o->factor + blend * f);
    }
}

/* The channel (as a real number) whose frequency makes `turns` turns within the old length. */
static double channel_of(const rotary_options *o, double turns, int64_t channels) {
    double old = (double)o->original_max_position_embeddings;
    return (double)channels * log(old / (turns * 2 * PI)) / (2 * log(o->rope_theta));
}

static double yarn_magnitude(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static float stretch_yarn(const rotary_options *o, int64_t half, float *frequency) {
    double low = channel_of(o, o->beta_fast, 2 * half), high = channel_of(o, o->beta_slow, 2 * half);
    if (o->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low < 0 ? 0 : low;
    high = high > (double)(2 * half - 1) ? (double)(2 * half - 1) : high;
    if (low == high) high += 0.001;
    for (int64_t i = 0; i < half; i++) {
        double stretched = ((double)i - low) / (high - low), f = frequency[i];
        stretched = stretched < 0 ? 0 : stretched > 1 ? 1 : stretched;
        frequency[i] = (float)(f / o->factor * stretched + f * (1 - stretched));
    }
    if (o->attention_factor > 0) return (float)o->attention_factor;
    if (o->mscale > 0 && o->mscale_all_dim > 0)
        return (float)(yarn_magnitude(o->factor, o->mscale) / yarn_magnitude(o->factor, o->mscale_all_dim));
    return (float)yarn_magnitude(o->factor, 1);
}

/* ---------------------------------------------------------------------------------------------- reading */

/* What each type needs beside rope_theta. */
typedef struct rotary_type {
    const char *name;
    const char *needs[4];
} rotary_type;
static const rotary_type types[] = {
    {"default", {NULL}},
    {"linear", {"factor", NULL}},
    {"llama3", {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}},
    {"yarn", {"factor", "original_max_position_embeddings", NULL}}};

static ct_status check_type(ct_context *context, const rotary_options *o, const ct_value *settings,
                            const char *where) {
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, o->rope_type) != 0) continue;
        for (int n = 0; n < 4 && types[i].needs[n]; n++)
            if (ct_value_kind_of(ct_value_get(settings, types[i].needs[n])) == CT_VALUE_NULL)
                return ct_fail(context, CT_ERROR_ARGUMENT, "%s: rope_type \"%s\" needs the key \"%s\"", where,
                               o->rope_type, types[i].needs[n]);
        return CT_OK;
    }
    return ct_fail(context, CT_ERROR_UNSUPPORTED,
                   "%s: rope_type \"%s\" is not built; there are default, linear, llama3 and yarn", where,
                   o->rope_type);
}

static ct_status check_options(ct_context *context, const rotary_options *o, const ct_value *settings,
                               int64_t channels, const char *where) {
    if (check_type(context, o, settings, where) != CT_OK) return ct_context_status(context);
    if (o->partial_rotary_factor != 1)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: partial_rotary_factor is %g, only 1 is built",
                       where, o->partial_rotary_factor);
    if (channels % 2)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: heads have %lld channels, rotary positions need an even number", where,
                       (long long)channels);
    if (strcmp(o->rope_type, "llama3") == 0 && o->high_freq_factor <= o->low_freq_factor)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: high_freq_factor %g is not above low_freq_factor %g",
                       where, o->high_freq_factor, o->low_freq_factor);
    if (strcmp(o->rope_type, "yarn") == 0 && (o->rope_theta == 1 || o->beta_fast <= 0 || o->beta_slow <= 0))
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "%s: yarn with rope_theta %g, beta_fast %g, beta_slow %g: expected a theta other than 1 and "
            "positive betas",
            where, o->rope_theta, o->beta_fast, o->beta_slow);
    return CT_OK;
}

static ct_rotation *rotary_make(ct_context *context, const rotary_options *o, int64_t channels) {
    ct_rotation *r = ct_alloc_zero(context, sizeof(*r), CT_MEMORY_OTHER);
    if (!r) return NULL;
    r->half = channels / 2;
    r->scale = 1;
    r->frequency = ct_alloc(context, (size_t)r->half * sizeof(float), CT_MEMORY_OTHER);
    if (!r->frequency) {
        ct_free(context, r);
        return NULL;
    }
    for (int64_t i = 0; i < r->half; i++) {
        float exponent = (float)(2 * i) / (float)channels;
        r->frequency[i] = 1.0f / (float)pow((double)(float)o->rope_theta, (double)exponent);
        if (strcmp(o->rope_type, "linear") == 0) r->frequency[i] /= (float)o->factor;
    }
    if (strcmp(o->rope_type, "llama3") == 0) stretch_llama3(o, r->half, r->frequency);
    if (strcmp(o->rope_type, "yarn") == 0) r->scale = stretch_yarn(o, r->half, r->frequency);
    return r;
}

/* Keys without a value count as absent. */
static ct_value *without_nulls(ct_context *context, const ct_value *settings) {
    ct_value *result = ct_value_map(context);
    for (size_t i = 0; result && i < ct_value_count(settings); i++)
        if (ct_value_kind_of(ct_value_at(settings, i)) != CT_VALUE_NULL)
            ct_value_set(result, ct_value_key(settings, i), ct_value_copy(ct_value_at(settings, i)));
    return result;
}

ct_rotation *ct_rotation_create(ct_context *context, int64_t channels, const ct_value *settings,
                                const char *where) {
    rotary_options o;
    ct_rotation *rotary = NULL;
    ct_value *given = without_nulls(context, settings);
    ct_options_default(rotary_table, &o);
    if (given && ct_options_apply(context, rotary_table, &o, given, where, NULL) == CT_OK &&
        check_options(context, &o, given, channels, where) == CT_OK)
        rotary = rotary_make(context, &o, channels);
    ct_value_free(given);
    return rotary;
}

void ct_rotation_destroy(ct_context *context, ct_rotation *rotary) {
    if (!rotary) return;
    ct_free(context, rotary->frequency);
    ct_free(context, rotary);
}

/* ----------------------------------------------------------------------------------------------- tables */

/* Models have one or two sets of frequencies, each layer of a forward pass asks for one of them. */
enum { KEPT = 4 };

typedef struct kept {
    ct_rotation rotary;               /* a copy: modules may go while the run stays */
    ct_tensor *positions, *cos, *sin; /* held; NULL: an empty entry */
} kept;

struct ct_rotary_memo {
    kept entries[KEPT];
    int next; /* to be replaced */
};

static void forget(ct_context *context, kept *entry) {
    ct_free(context, entry->rotary.frequency);
    ct_drop(entry->positions);
    ct_drop(entry->cos);
    ct_drop(entry->sin);
    *entry = (kept){.positions = NULL};
}

void ct_rotary_memo_destroy(ct_context *context, ct_rotary_memo *memo) {
    for (int i = 0; memo && i < KEPT; i++)
        forget(context, &memo->entries[i]);
    ct_free(context, memo);
}

static bool same_rotary(const ct_rotation *a, const ct_rotation *b) {
    return a->half == b->half && a->scale == b->scale &&
           memcmp(a->frequency, b->frequency, (size_t)a->half * sizeof(float)) == 0;
}

/* On the meta device there are no numbers to compare: the shapes are what counts there. */
static bool same_positions(ct_tensor *a, ct_tensor *b) {
    if (ct_device_of(a) != ct_device_of(b) || !ct_same_shape(a, b)) return false;
    const void *x = ct_data(a), *y = ct_data(b);
    return (!x && !y) || (x && y && memcmp(x, y, (size_t)ct_count(a) * sizeof(int32_t)) == 0);
}

static void fill_tables(const kept *entry) {
    const ct_rotation *r = &entry->rotary;
    const int32_t *position = ct_data(entry->positions);
    float *c = ct_data_mutable(entry->cos), *s = ct_data_mutable(entry->sin);
    int64_t count = ct_count(entry->positions);
    for (int64_t t = 0; position && c && s && t < count; t++)
        for (int64_t i = 0; i < r->half; i++) {
            float angle = (float)position[t] * r->frequency[i];
            c[t * r->half + i] = (float)cos((double)angle) * r->scale;
            s[t * r->half + i] = (float)sin((double)angle) * r->scale;
        }
}

static ct_status make_tables(ct_context *context, const ct_rotation *r, ct_tensor *positions, kept *entry) {
    int64_t rows = ct_dim(positions, 0), time = ct_dim(positions, 1);
    const int64_t shape[3] = {rows, time, r->half};
    forget(context, entry);
    float *copy = ct_alloc(context, (size_t)r->half * sizeof(float), CT_MEMORY_OTHER);
    if (!copy) return CT_ERROR_MEMORY;
    memcpy(copy, r->frequency, (size_t)r->half * sizeof(float));
    entry->rotary = (ct_rotation){r->half, r->scale, copy};
    ct_scope scope = ct_scope_open(context);
    ct_tensor *c = ct_empty(context, CT_F32, rows == 1 ? 2 : 3, rows == 1 ? shape + 1 : shape);
    ct_tensor *s = ct_empty_like(c);
    if (!ct_failed(context)) {
        entry->positions = ct_hold(positions);
        entry->cos = ct_hold(c);
        entry->sin = ct_hold(s);
        fill_tables(entry);
    }
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

ct_status ct_rotation_tables(ct_run *run, const ct_rotation *rotary, int64_t batch, int64_t time,
                             ct_tensor **cos, ct_tensor **sin) {
    ct_context *context = ct_run_context(run);
    ct_rotary_memo **place = ct_run_rotary_memo(run);
    if (!*place) *place = ct_alloc_zero(context, sizeof(**place), CT_MEMORY_OTHER);
    ct_rotary_memo *memo = *place;
    if (!memo) return CT_ERROR_MEMORY;
    kept *found = NULL, *known = NULL;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *positions = ct_run_positions(run, batch, time, INT32_MAX, true);
    for (int i = 0; i < KEPT && !ct_failed(context); i++) {
        if (!memo->entries[i].positions || !same_rotary(&memo->entries[i].rotary, rotary)) continue;
        known = &memo->entries[i];
        if (same_positions(known->positions, positions)) found = known;
    }
    if (!found && !ct_failed(context)) {
        found = known ? known : &memo->entries[memo->next++ % KEPT];
        make_tables(context, rotary, positions, found);
    }
    ct_scope_close(context, scope);
    if (ct_failed(context)) return ct_context_status(context);
    *cos = found->cos;
    *sin = found->sin;
    return CT_OK;
}
