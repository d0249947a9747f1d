/* distill_kl.c - the divergence of the student's probabilities from a teacher's, both at a temperature T:
 *     T^2 KL(softmax(z / T) || softmax(x / T)),   z the teacher's outputs, x the student's.
 * Its gradient by x is T (softmax(x / T) - softmax(z / T)), which tends to x - z less their means as T grows;
 * the factor T^2 keeps its size beside a loss of the targets (Hinton et al., section 2). */
#include <carat/objective.h>

typedef struct distill_kl_options {
    double temperature;
} distill_kl_options;

static const ct_option options[] = {
    CT_OPTION_REAL("temperature", distill_kl_options, temperature, 1, 1e-3, 1e4,
                   "T, by which the logits of teacher and student are divided"),
    CT_OPTION_END};

/* The cross-entropy with the teacher less the teacher's entropy, as the same kernel computes both: a student
 * that gives what the teacher gives has the loss 0. */
static ct_tensor *distill_kl_losses(const ct_objective_call *call) {
    const distill_kl_options *o = call->options;
    double t = o->temperature;
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    ct_tensor *student = ct_objective_outputs(call), *teacher = call->teacher;
    if (t != 1) {
        student = ct_mul_scalar(student, 1 / t);
        teacher = ct_mul_scalar(teacher, 1 / t);
    }
    ct_tensor *wanted = ct_softmax(teacher, -1);
    ct_tensor *losses =
        ct_sub(ct_cross_entropy(student, wanted, &how), ct_cross_entropy(teacher, wanted, &how));
    return t != 1 ? ct_mul_scalar(losses, t * t) : losses;
}

const ct_objective_method ct_objective_distill_kl = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_objective_method),
         .name = "distill_kl",
         .title = "Divergence from a teacher",
         .paper = {"arXiv:1503.02531", "Hinton, Vinyals & Dean, 2015"},
         .summary =
             "The student's probabilities are drawn to those of teacher.path, a model or an ensemble, at "
             "a temperature. Beside cross_entropy it is knowledge distillation (carat distill).",
         .options = options,
         .options_size = sizeof(distill_kl_options),
         .task = "distil",
         .example = "carat train recipes/gpt-tiny.yaml data.train=README.md max_steps=20 out=out/teacher "
                    "--overwrite_output_dir && carat train recipes/gpt-tiny.yaml data.train=README.md "
                    "teacher.path=out/teacher objective=[distill_kl] max_steps=20 out=out/distill_kl "
                    "--overwrite_output_dir",
         .uses = CT_HOOK_TARGETS},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = distill_kl_losses,
    .teacher = true};
