/* block.c - the transformer block that every family shares, and the list of blocks. */
#include "nn/block.h"
#include "nn/layers.h"
#include "nn/run.h"

const char *const ct_norm_place_names[] = {"pre", "post", "mix", "peri", "deepnorm", NULL};
static const char *const block_places[] = {"pre", "post", "", "peri", "deepnorm", NULL};

const ct_option ct_block_table[] = {
    CT_OPTION_CHOICE("place", ct_block_options, place, "pre", block_places, "where norms stand"),
    CT_OPTION_BOOL("in", ct_block_options, in, true, "peri: a norm before each sublayer"),
    CT_OPTION_BOOL("out", ct_block_options, out, true, "peri: a norm behind each sublayer"),
    CT_OPTION_REAL("residual_scale", ct_block_options, residual_scale, 1, 0, 1e6, "deepnorm: of the stream"),
    CT_OPTION_END};

/* One sublayer with its norms, which begin at child `first`. */
static ct_tensor *sublayer(ct_run *run, ct_module *block, int first, ct_tensor *x) {
    const ct_block_options *o = ct_module_options(block);
    ct_module *const *part = block->children + first;
    ct_scope scope = ct_scope_open(block->context);
    ct_tensor *y;
    switch (o->place) {
    case CT_PLACE_POST:
    case CT_PLACE_DEEPNORM:
        y = o->place == CT_PLACE_DEEPNORM ? ct_mul_scalar(x, o->residual_scale) : x;
        y = ct_forward1(run, part[0], ct_add(y, ct_forward1(run, part[1], x)));
        break;
    case CT_PLACE_PERI:
        y = o->in ? ct_forward1(run, part[0], x) : x;
        y = ct_forward1(run, part[o->in], y);
        if (o->out) y = ct_forward1(run, part[o->in + 1], y);
        y = ct_add(x, y);
        break;
    default:
        y = ct_add(x, ct_forward1(run, part[1], ct_forward1(run, part[0], x)));
    }
    return ct_scope_return(block->context, scope, y);
}

ct_tensor *ct_block_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const ct_block_options *o = ct_module_options(module);
    int step = o->place == CT_PLACE_PERI ? 1 + o->in + o->out : 2;
    ct_tensor *x = inputs[0];
    for (int i = 0; i + step <= module->child_count; i += step)
        x = sublayer(run, module, i, x);
    return ct_run_point(run, module, "output", x);
}

/* ----------------------------------------------------------------------------------- lists of blocks */

/* Consecutive blocks as one segment that the backward pass computes again. */
typedef struct block_segment {
    ct_context *context;
    ct_run *run;
    ct_module *list;
    int first, count;
    ct_run_position position;
    bool done; /* once already */
} block_segment;

static ct_tensor *segment_run(void *user, ct_tensor *const *inputs, int count) {
    (void)count;
    block_segment *s = user;
    ct_run_position *present = ct_run_position_of(s->run), before = *present;
    *present = s->position;
    present->again = s->done;
    s->done = true;
    ct_tensor *x = ct_hold(inputs[0]);
    for (int i = 0; i < s->count; i++)
        ct_forward_into(s->run, s->list->children[s->first + i], &x);
    ct_give_to_scope(s->context, x);
    int64_t drawn = present->dropouts;
    *present = before;
    if (present->dropouts < drawn) present->dropouts = drawn;
    return x;
}

static void segment_free(void *user) {
    block_segment *s = user;
    ct_free(s->context, s);
}

ct_tensor *ct_block_list_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_context *context = module->context;
    int64_t every = ct_run_options_of(run)->checkpoint_every;
    ct_tensor *first = ct_run_point(run, module, "input", inputs[0]);
    if (every <= 0 || !ct_grad_mode(context)) {
        ct_tensor *x = ct_hold(first);
        for (int i = 0; i < module->child_count; i++)
            ct_forward_into(run, module->children[i], &x);
        return ct_give_to_scope(context, x);
    }
    ct_tensor *x = first;
    int step = (int)(every < module->child_count ? every : module->child_count);
    for (int i = 0; i < module->child_count; i += step) {
        block_segment *s = ct_alloc(context, sizeof(*s), CT_MEMORY_OTHER);
        if (!s) return x;
        int left = module->child_count - i;
        *s = (block_segment){context, run, module, i, step < left ? step : left, *ct_run_position_of(run),
                             false};
        x = ct_checkpoint(context, segment_run, s, segment_free, &x, 1);
    }
    return x;
}
