/* phases.h - inside data: several datasets of samples, taken up one after the other in a run. */
#ifndef CARAT_SRC_DATA_PHASES_H
#define CARAT_SRC_DATA_PHASES_H

#include <carat/data.h>

typedef struct ct_phases ct_phases;

/* Takes the parts over, also on failure. */
ct_phases *ct_phases_create(ct_context *context, ct_dataset **parts, int count, double replay);
void ct_phases_destroy(ct_context *context, ct_phases *phases); /* NULL is allowed */
ct_status ct_phases_arrange(ct_context *context, ct_phases *phases, int64_t steps, int64_t rows);
int ct_phases_at(const ct_phases *phases, int64_t step);
int64_t ct_phases_rows(const ct_phases *phases);
int64_t ct_phases_tokens(const ct_phases *phases);
int32_t ct_phases_largest(const ct_phases *phases);
/* The row drawn as `index` of the run; -1 on error. */
int64_t ct_phases_drawn(ct_context *context, const ct_phases *phases, uint64_t seed, int64_t index);
/* The part that a row belongs to; *row becomes that part's row. The same for a token. */
const ct_dataset *ct_phases_part(const ct_phases *phases, int64_t *row);
const ct_dataset *ct_phases_part_of_token(const ct_phases *phases, int64_t *index);

#endif
