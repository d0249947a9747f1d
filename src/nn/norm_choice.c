/* norm_choice.c - the key "norm" of a model's configuration: which norm, and where it stands. */
#include "nn/block.h"
#include "nn/layers.h"
#include <carat/norm.h>
#include <math.h>
#include <string.h>

typedef struct place_options {
    const char *name;
    int place;
    double alpha;
    const ct_value *peri;
    bool force;
} place_options;

static const ct_option place_table[] = {
    CT_OPTION_STRING("name", place_options, name, "layernorm", "method (carat show norm)"),
    CT_OPTION_CHOICE("place", place_options, place, "pre", ct_norm_place_names, "where norms stand"),
    CT_OPTION_REAL("alpha", place_options, alpha, 0.25, 0, 1,
                   "mix: share of the layers, from the first, that are post"),
    CT_OPTION_VALUE("peri", place_options, peri, "peri: {in, out, emb}, which of its norms there are"),
    CT_OPTION_BOOL("force", place_options, force, false, "load weights that were trained with another place"),
    CT_OPTION_END};

typedef struct peri_options {
    bool in, out, emb;
} peri_options;

static const ct_option peri_table[] = {
    CT_OPTION_BOOL("in", peri_options, in, true, "a norm before each sublayer"),
    CT_OPTION_BOOL("out", peri_options, out, true, "a norm behind each sublayer"),
    CT_OPTION_BOOL("emb", peri_options, emb, true, "a norm on the embeddings"), CT_OPTION_END};

static ct_status read_peri(ct_context *context, const place_options *place, ct_norm_choice *choice) {
    peri_options peri;
    ct_options_default(peri_table, &peri);
    if (place->peri && choice->place != CT_PLACE_PERI)
        return ct_fail(context, CT_ERROR_ARGUMENT, "norm.peri: it needs norm.place peri, found %s",
                       ct_norm_place_names[choice->place]);
    if (place->peri && ct_options_apply(context, peri_table, &peri, place->peri, "norm.peri", NULL) != CT_OK)
        return ct_context_status(context);
    if (!peri.in && !peri.out)
        return ct_fail(
            context, CT_ERROR_ARGUMENT,
            "norm.peri: neither in nor out leaves the sublayers without any norm; use norm: none for that");
    choice->in = peri.in;
    choice->out = peri.out;
    choice->emb = peri.emb && choice->place == CT_PLACE_PERI;
    return CT_OK;
}

/* Splits the map into the keys of the place and those of the method. */
static ct_status read_map(ct_context *context, ct_norm_choice *choice) {
    place_options place;
    ct_value *own = ct_value_map(context);
    ct_options_default(place_table, &place);
    for (size_t i = 0; own && i < ct_value_count(choice->given); i++) {
        const char *key = ct_value_key(choice->given, i);
        ct_value_set(ct_options_find(place_table, key) ? own : choice->options, key,
                     ct_value_copy(ct_value_at(choice->given, i)));
    }
    if (own && ct_options_apply(context, place_table, &place, own, "norm", NULL) == CT_OK) {
        choice->name = ct_value_as_string(ct_value_get(choice->given, "name"), "layernorm");
        choice->place = place.place;
        choice->alpha = place.alpha;
        choice->force = place.force;
        if (ct_value_get(own, "alpha") && place.place != CT_PLACE_MIX)
            ct_fail(context, CT_ERROR_ARGUMENT, "norm.alpha: it needs norm.place mix, found %s",
                    ct_norm_place_names[place.place]);
        else
            read_peri(context, &place, choice);
    }
    ct_value_free(own);
    return ct_context_status(context);
}

ct_status ct_norm_choice_read(ct_context *context, const ct_value *value, double epsilon,
                              ct_norm_choice *choice) {
    *choice =
        (ct_norm_choice){.name = "layernorm", .alpha = 0.25, .in = true, .out = true, .asked = value != NULL};
    choice->options = ct_value_map(context);
    if (value) choice->given = ct_value_copy(value);
    if (!choice->options || (value && !choice->given)) return ct_context_status(context);
    ct_value_kind kind = ct_value_kind_of(value);
    if (value && kind == CT_VALUE_STRING)
        choice->name = ct_value_as_string(choice->given, "layernorm");
    else if (value && kind == CT_VALUE_MAP)
        read_map(context, choice);
    else if (value)
        ct_fail(context, CT_ERROR_ARGUMENT,
                "norm: expected a method's name or a map {name: ..., place: ...}, found %s",
                ct_value_kind_name(kind));
    const ct_method *method = ct_failed(context) ? NULL : ct_method_find(context, "norm", choice->name);
    if (!method) return ct_context_status(context);
    bool given = ct_value_get(choice->options, "eps") || ct_value_get(choice->options, "epsilon");
    if (!given && method->options && ct_options_find(method->options, "eps"))
        ct_value_set(choice->options, "eps", ct_value_real(context, epsilon));
    return ct_context_status(context);
}

void ct_norm_choice_free(ct_norm_choice *choice) {
    ct_value_free(choice->options);
    ct_value_free(choice->given);
    choice->options = choice->given = NULL;
}

void ct_norm_choice_describe(const ct_norm_choice *choice, char *text, size_t size) {
    const char *place = ct_norm_place_names[choice->place];
    if (choice->place == CT_PLACE_MIX)
        snprintf(text, size, "%s %.6g", place, choice->alpha);
    else
        snprintf(text, size, "%s", place);
}

/* Layers l < floor(alpha L) are post; the small number is for products such as 0.29 * 100. */
ct_norm_place ct_norm_choice_place(const ct_norm_choice *choice, int64_t layer, int64_t layers) {
    if (choice->place != CT_PLACE_MIX) return (ct_norm_place)choice->place;
    return layer < (int64_t)floor(choice->alpha * (double)layers + 1e-9) ? CT_PLACE_POST : CT_PLACE_PRE;
}

double ct_norm_choice_init(const ct_norm_choice *choice, int64_t layers) {
    return choice->place == CT_PLACE_DEEPNORM ? pow(8.0 * (double)layers, -0.25) : 1;
}

/* --------------------------------------------------------------------------------------------- building */

ct_module *ct_norm_choice_add(ct_module *parent, const char *name, int64_t width,
                              const ct_norm_choice *choice) {
    return ct_norm_add(parent, name, choice->name, width, choice->options);
}

ct_module *ct_block_add(ct_module *list, const char *kind, int64_t layer, int64_t layers,
                        const ct_norm_choice *choice) {
    ct_context *context = list->context;
    ct_norm_place place = ct_norm_choice_place(choice, layer, layers);
    char name[24];
    snprintf(name, sizeof(name), "%lld", (long long)layer);
    ct_value *map = ct_value_map(context);
    if (map && place != CT_PLACE_PRE)
        ct_value_set(map, "place", ct_value_string(context, ct_norm_place_names[place]));
    if (map && place == CT_PLACE_PERI) {
        ct_value_set(map, "in", ct_value_bool(context, choice->in));
        ct_value_set(map, "out", ct_value_bool(context, choice->out));
    }
    if (map && place == CT_PLACE_DEEPNORM)
        ct_value_set(map, "residual_scale", ct_value_real(context, pow(2.0 * (double)layers, 0.25)));
    return ct_module_child_of_kind(list, name, kind, map);
}

void ct_block_add_sublayer(ct_module *block, const ct_norm_choice *choice, int64_t width, const char *norm,
                           const char *norm_out, const char *name, const char *kind, ct_value *options) {
    const ct_block_options *o = ct_module_options(block);
    bool peri = o->place == CT_PLACE_PERI;
    if (!peri || o->in) ct_norm_choice_add(block, norm, width, choice);
    ct_module_child_of_kind(block, name, kind, options);
    if (peri && o->out) ct_norm_choice_add(block, norm_out, width, choice);
}
