/* kernels_optimizer.inc.h - optimizer steps, each one pass over weight, gradient and state, for one element
 * type. Included by kernels_all.inc.h. */

static void N(store_shadow)(uint16_t *shadow, VT w, int64_t count) {
    REAL values[LANES];
    V(store)(values, w);
    for (int64_t i = 0; i < count && i < LANES; ++i)
        shadow[i] = ct_f32_to_bf16((float)values[i]);
}

/* Loshchilov and Hutter 2019, arXiv:1711.05101; Kingma and Ba 2015, arXiv:1412.6980. */
static void N(adamw)(int64_t n, REAL *w, const REAL *g, REAL *m, REAL *v, const ct_adamw *o,
                     uint16_t *shadow) {
    const VT gradient_scale = V(set)((REAL)(o->maximize ? -o->gradient_scale : o->gradient_scale));
    const VT decay = V(set)((REAL)(1 - o->learning_rate * o->weight_decay)),
             coupled = V(set)((REAL)o->weight_decay);
    const VT rest1 = V(set)((REAL)(1 - o->beta1)), beta2 = V(set)((REAL)o->beta2),
             rest2 = V(set)((REAL)(1 - o->beta2));
    const VT step = V(set)((REAL)(o->learning_rate / o->bias_correction1)),
             epsilon = V(set)((REAL)o->epsilon);
    const VT correction = V(set)((REAL)sqrt(o->bias_correction2));
    for (int64_t i = 0; i < n; i += LANES) {
        VT weight = N(load_count)(w + i, n - i),
           gradient = V(mul)(N(load_count)(g + i, n - i), gradient_scale);
        VT first = N(load_count)(m + i, n - i), second = N(load_count)(v + i, n - i);
        if (o->coupled)
            gradient = V(fma)(weight, coupled, gradient);
        else
            weight = V(mul)(weight, decay);
        first = V(fma)(rest1, V(sub)(gradient, first), first);
        second = V(fma)(V(mul)(rest2, gradient), gradient, V(mul)(beta2, second));
        VT denominator = V(add)(V(div)(V(sqrt)(second), correction), epsilon);
        weight = V(fnma)(step, V(div)(first, denominator), weight);
        N(store_count)(w + i, weight, n - i);
        N(store_count)(m + i, first, n - i);
        N(store_count)(v + i, second, n - i);
        if (shadow) STORE_SHADOW(shadow + i, weight, n - i);
    }
}

static void N(sgd)(int64_t n, REAL *w, const REAL *g, REAL *m, const ct_sgd *o, uint16_t *shadow) {
    const VT gradient_scale = V(set)((REAL)(o->maximize ? -o->gradient_scale : o->gradient_scale));
    const VT decay = V(set)((REAL)o->weight_decay), momentum = V(set)((REAL)o->momentum);
    const VT share = V(set)((REAL)(1 - o->dampening)), rate = V(set)((REAL)o->learning_rate);
    const bool keeps = o->momentum != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        VT weight = N(load_count)(w + i, n - i),
           gradient = V(mul)(N(load_count)(g + i, n - i), gradient_scale);
        gradient = V(fma)(decay, weight, gradient);
        if (keeps) {
            VT velocity = gradient;
            if (!o->first) velocity = V(fma)(momentum, N(load_count)(m + i, n - i), V(mul)(share, gradient));
            N(store_count)(m + i, velocity, n - i);
            gradient = o->nesterov ? V(fma)(momentum, velocity, gradient) : velocity;
        }
        weight = V(fnma)(rate, gradient, weight);
        N(store_count)(w + i, weight, n - i);
        if (shadow) STORE_SHADOW(shadow + i, weight, n - i);
    }
}
