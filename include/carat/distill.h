/* distill.h - students of other models. What a student learns from is a teacher of its recipe (train.h) and
 * an objective that listens to it (objective.h); here such recipes are made, run and judged. */
#ifndef CARAT_DISTILL_H
#define CARAT_DISTILL_H

#include <carat/ensemble.h>
#include <carat/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A student of an ensemble (Kim et al., arXiv:2509.14786, section on distillation). The loss is
 * alpha * (the recipe's objective) + (1 - alpha) * T^2 KL(teacher || student), T being the temperature. */
typedef struct ct_distill_options {
    double alpha, temperature;
    int average; /* ct_teacher_average */
    bool self;   /* the teacher is one model */
} ct_distill_options;
extern const ct_option ct_distill_table[];

/* The recipe by which ct_train trains the student; a new map, or NULL. `teacher` is the manifest of an ensemble
 * or the folder of a model; `given` a recipe, or NULL: that of the teacher's first member (its recipe.yaml),
 * with a seed above all members' and without what says where and with what means it ran. Its tokenizer is left
 * out, for the teacher's. `over` (may be NULL) goes over it, map by map. Where the recipe has no model it is of
 * the first member's size. Refused: a single model unless options->self, an ensemble with it, members without
 * recipe.yaml where none is given, an objective that learns from a teacher already. */
ct_value *ct_distill_recipe(ct_context *context, const char *teacher, const ct_value *given,
                            const ct_value *over, const ct_distill_options *options);

typedef struct ct_distill_result {
    ct_train_report training;
    int members;
    /* Loss a token of the held-out text, nats, by windows of the recipe's context; NAN where there is none,
     * or the run was interrupted. */
    double student, teacher, member; /* member: mean over the teacher's members */
    double kept; /* (member - student) / (member - teacher); NAN where the teacher gains nothing */
} ct_distill_result;
/* Runs a recipe that ct_distill_recipe made and compares the student with its teacher. `resume` as in
 * ct_train. */
ct_status ct_distill(ct_context *context, const ct_value *recipe, bool resume, ct_distill_result *result);

#ifdef __cplusplus
}
#endif
#endif
