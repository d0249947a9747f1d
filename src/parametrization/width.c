/* width.c - a model's configuration at another width, everything that grows with it in proportion. */
#include <carat/parametrization.h>

/* The key that is the width, and what is in proportion to it where it is given. */
static const struct {
    const char *width, *others[2];
} keys[] = {{"n_embd", {"n_inner", "head_dim"}}, {"hidden_size", {"intermediate_size", "head_dim"}}};

/* The sizes of an mlp: the first hidden one becomes `width`, the other hidden ones follow. */
static ct_status set_sizes(ct_context *context, ct_value *config, const ct_value *sizes, int64_t width) {
    ct_value *list = ct_value_list(context);
    size_t count = ct_value_count(sizes);
    int64_t first = ct_value_as_int(ct_value_at(sizes, 1), 1);
    for (size_t i = 0; list && i < count; i++) {
        int64_t size = ct_value_as_int(ct_value_at(sizes, i), 1);
        bool hidden = i > 0 && i + 1 < count;
        if (hidden && (first < 1 || size * width % first))
            ct_fail(context, CT_ERROR_ARGUMENT, "width %lld: sizes.%zu would be %lld * %lld / %lld",
                    (long long)width, i, (long long)size, (long long)width, (long long)first);
        ct_value_append(list, ct_value_int(context, hidden && first > 0 ? size * width / first : size));
    }
    return ct_value_set(config, "sizes", list);
}

static int64_t present(const ct_architecture *architecture, const ct_value *config, const char *key) {
    const ct_option *option = ct_options_find(architecture->options, key);
    return ct_value_as_int(ct_value_get(config, key), option ? (int64_t)option->real_default : 0);
}

ct_status ct_width_set(ct_context *context, ct_value *config, int64_t width) {
    const ct_value *sizes = ct_value_get(config, "sizes");
    if (sizes) return set_sizes(context, config, sizes, width);
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    const ct_architecture *architecture = ct_architecture_find(context, type);
    if (!architecture) return ct_context_status(context);
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        if (!ct_options_find(architecture->options, keys[k].width)) continue;
        int64_t own = present(architecture, config, keys[k].width);
        for (int i = 0; i < 2 && keys[k].others[i]; i++) {
            int64_t other = present(architecture, config, keys[k].others[i]);
            if (other <= 0) continue;
            if (own < 1 || other * width % own)
                return ct_fail(context, CT_ERROR_ARGUMENT,
                               "width %lld: %s %lld does not scale with %s from %lld", (long long)width,
                               keys[k].others[i], (long long)other, keys[k].width, (long long)own);
            ct_value_set(config, keys[k].others[i], ct_value_int(context, other * width / own));
        }
        return ct_value_set(config, keys[k].width, ct_value_int(context, width));
    }
    return ct_fail(context, CT_ERROR_UNSUPPORTED,
                   "width: which key of a %s's configuration is its width is not known here", type);
}
