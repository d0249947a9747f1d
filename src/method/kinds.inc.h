/* kinds.inc.h - the list of kinds. A new kind is its header include/carat/NAME.h, included here, and an entry:
 *
 *     CT_KIND(NAME, MANY, HOOKS, TASK, KEY, SHARED, NEEDS, SUMMARY, EXAMPLE)
 *
 * MANY: a run may have several methods of it. HOOKS: the ct_hook that all its methods use. TASK: words for the index by
 * task. KEY: where a recipe has the method's options (NULL: beside its name). SHARED: table of options that all its
 * methods have, or NULL. NEEDS: the function that a method cannot do without, CT_NEEDS(NAME, function), or
 * CT_NEEDS_NOTHING. EXAMPLE: the command of a method that has none of its own; %s is the method's name. Lists of kinds
 * follow this order. The file is included more than once. */
#include <carat/initializer.h>
#include <carat/link.h>
#include <carat/norm.h>
#include <carat/objective.h>
#include <carat/optimizer.h>
#include <carat/parametrization.h>
#include <carat/regularizer.h>
#include <carat/schedule.h>

CT_KIND(optimizer, false, CT_HOOK_DIRECTION, "train", "optimizer", ct_optimizer_shared_options,
        CT_NEEDS(optimizer, direction), "how gradients change parameters",
        "carat train recipes/gpt-tiny.yaml data.train=README.md optim=%s max_steps=50 out=out/%s --overwrite_output_dir")
CT_KIND(schedule, false, CT_HOOK_RATE, "train", "lr_scheduler_kwargs", NULL,
        CT_NEEDS(schedule, factor), "the learning rate over the steps",
        "carat train recipes/gpt-tiny.yaml data.train=README.md lr_scheduler_type=%s max_steps=50 out=out/%s "
        "--overwrite_output_dir")
CT_KIND(initializer, false, 0, "train", "init", NULL, CT_NEEDS(initializer, fill),
        "the weights of linear layers before training",
        "carat train recipes/gpt-tiny.yaml data.train=README.md init.name=%s max_steps=20 out=out/%s --overwrite_output_dir")
CT_KIND(norm, false, 0, "build a model", "model.norm", NULL, CT_NEEDS(norm, forward),
        "how a layer's activations are normalised",
        "carat train recipes/gpt-tiny.yaml data.train=README.md model.norm.name=%s max_steps=20 out=out/%s "
        "--overwrite_output_dir")
CT_KIND(link, true, 0, "train", NULL, NULL, CT_NEEDS_NOTHING,
        "what is done to gradients, updates and weights around the optimizer",
        "carat train recipes/gpt-tiny.yaml data.train=README.md optimizer_links=[%s] max_steps=50 out=out/%s "
        "--overwrite_output_dir")
CT_KIND(objective, true, 0, "train", "objective", ct_chosen_options, CT_NEEDS(objective, losses),
        "what the loss of a step is",
        "carat train recipes/gpt-tiny.yaml data.train=README.md objective=[%s] max_steps=20 out=out/%s "
        "--overwrite_output_dir")
CT_KIND(regularizer, true, 0, "train", "regularizers", ct_chosen_options, CT_NEEDS_NOTHING,
        "terms added to the loss, and weights made from other parameters",
        "carat train recipes/gpt-tiny.yaml data.train=README.md regularizers=[%s] max_steps=20 out=out/%s "
        "--overwrite_output_dir")
CT_KIND(parametrization, false, 0, "train", "param", ct_parametrization_options, CT_NEEDS_NOTHING,
        "how initial weights, rates and multipliers depend on the width",
        "carat train recipes/gpt-tiny.yaml data.train=README.md param.name=%s param.base_width=32 max_steps=20 out=out/%s "
        "--overwrite_output_dir")
