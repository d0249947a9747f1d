/* kinds.inc.h - the list of kinds. A new kind is its header include/carat/NAME.h and a line here:
 *
 *     CT_KIND(NAME, MANY, HOOKS, TASK, SUMMARY, EXAMPLE)
 *
 * MANY: a run may have several methods of it. HOOKS: the ct_hook that all its methods use. TASK: for the index by task.
 * EXAMPLE: the command of a method that has none of its own, where %s is the method's name. Lists follow this order. */

CT_KIND(optimizer, false, CT_HOOK_DIRECTION, "train", "how gradients change parameters",
        "carat train recipes/gpt-tiny.yaml data.train=README.md optim=%s max_steps=50 out=out/%s --overwrite_output_dir")
CT_KIND(schedule, false, CT_HOOK_RATE, "train", "the learning rate over the steps",
        "carat train recipes/gpt-tiny.yaml data.train=README.md lr_scheduler_type=%s max_steps=50 out=out/%s "
        "--overwrite_output_dir")
