/* first.c - the library in one page: a model, an optimizer, 100 steps, a folder with the result. */
#include <carat.h>
#include <string.h>

int main(void) {
    ct_context *context = ct_context_create(0);
    const char *text = "{\"model_type\": \"mlp\", \"sizes\": [2, 16, 1], \"activation\": \"gelu\"}";
    ct_value *config = ct_json_parse(context, text, strlen(text), "config");
    ct_model *model = ct_model_create(context, config);
    ct_model_initialize(model, 1);
    ct_optimizer *adamw = ct_optimizer_create(context, "adamw", NULL);
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_require_grad(ct_model_parameter(model, i)->tensor, true);
        ct_optimizer_add(adamw, ct_model_parameter(model, i), &(ct_parameter_group){1, 0});
    }
    ct_run *run = ct_run_create(context, &(ct_run_options){.training = true});
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(4, 2), (const float[]){0, 0, 0, 1, 1, 0, 1, 1});
    ct_tensor *y =
        ct_from_data(context, CT_F32, CT_DIMS(4, 1), (const float[]){0, 1, 1, 0}); /* exclusive or */
    for (int step = 1; step <= 100; step++) {
        ct_scope scope = ct_scope_open(context);
        ct_tensor *loss = ct_mean_all(ct_square(ct_sub(ct_model_forward(model, run, x), y)));
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        ct_optimizer_step(adamw, 0.01, 1);
        ct_optimizer_clear_gradients(adamw);
        double value = 0;
        if (step % 20 == 0 && ct_item(loss, &value) == CT_OK) printf("step %d: loss %.5f\n", step, value);
        ct_scope_close(context, scope); /* every tensor of this step is gone */
    }
    ct_model_save(model, "out/xor", CT_F32);
    bool failed = ct_failed(context); /* of all calls above, the first error is kept */
    if (failed) fprintf(stderr, "%s\n", ct_context_message(context));
    ct_run_destroy(run);
    ct_optimizer_destroy(adamw);
    ct_model_destroy(model);
    ct_value_free(config);
    ct_context_destroy(context);
    return failed;
}
