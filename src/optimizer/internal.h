/* internal.h - inside optimizer: what an optimizer holds, and how states are stored. */
#ifndef CARAT_SRC_OPTIMIZER_INTERNAL_H
#define CARAT_SRC_OPTIMIZER_INTERNAL_H

#include <carat/link.h>
#include <carat/optimizer.h>

enum {
    CT_OPTIMIZER_TILE = 8192,     /* elements that are taken through the chain at once */
    CT_OPTIMIZER_CHUNK = 1 << 16, /* elements a task */
    CT_MAX_LINKS = 8
};

/* The optimizer's method, or one link: what both have in common, and its options. */
typedef struct ct_member {
    const ct_method *method;
    const ct_optimizer_method *optimizer; /* one of the two */
    const ct_link_method *link;
    const ct_state_decl *state; /* never NULL; ends with {NULL} */
    int states;
    bool (*keeps)(const void *options, const ct_optimizer_tensor *tensor, int index);
    const char *const *statistics;
    int statistic_count, first_statistic;
    void *options;
    ct_value *value; /* strings of the options live here */
} ct_member;

/* A stored state: f32, bf16 or f16 values, or u8 codes with the greatest value of each block of 256. */
typedef struct ct_stored {
    ct_tensor *values, *absmax; /* held; values NULL: not kept. absmax NULL: not in 8 bits */
} ct_stored;

typedef struct ct_entry {
    ct_parameter *parameter;
    ct_parameter_group group;
    double rate_scale, decay_scale; /* ct_optimizer_scale */
    ct_optimizer_tensor tensor;
    ct_tensor *steps;                  /* held, i64 []: steps that this parameter took part in */
    ct_tensor *mask;                   /* held, or NULL */
    ct_stored (*state)[CT_MAX_STATES]; /* [member][state] */
    double *statistics;                /* of the last step; NULL unless recorded */
} ct_entry;

struct ct_optimizer {
    ct_context *context;
    ct_member members[1 + CT_MAX_LINKS]; /* the optimizer, then its links */
    int member_count;
    int64_t state_bits, state_min_size;
    ct_entry *entries;
    int64_t count, capacity, steps;
    int statistic_count;
    bool record;
};

/* role.c: name, shape, role and the view as a matrix. */
void ct_optimizer_describe(const ct_parameter *parameter, ct_role role, ct_optimizer_tensor *tensor);

/* member.c: finds the method and reads its options. `shared` is the table of further keys of the map, or
 * NULL. */
ct_status ct_member_make(ct_context *context, ct_member *member, const char *kind, const char *name,
                         const ct_value *options, const ct_option *shared, const char *path);
void ct_member_free(ct_context *context, ct_member *member);

/* stored.c: one of the ways to store a state, and elements [offset, offset + count) of it as f32. Offsets are
 * multiples of CT_STATE_BLOCK for narrow states. */
enum { CT_STATE_BLOCK = 256 };
ct_status ct_stored_make(ct_context *context, ct_stored *stored, const ct_state_decl *decl,
                         const ct_tensor *weight, int64_t bits);
/* As it was made: every value 0. */
void ct_stored_clear(const ct_stored *stored, const ct_state_decl *decl);
void ct_stored_drop(ct_stored *stored);
bool ct_stored_narrow(const ct_stored *stored);
void ct_stored_read(const ct_stored *stored, const ct_state_decl *decl, int64_t offset, int64_t count,
                    float *values);
void ct_stored_write(const ct_stored *stored, const ct_state_decl *decl, int64_t offset, int64_t count,
                     const float *values);
/* The f32 values themselves; NULL if narrow, not kept, or on meta. */
float *ct_stored_values(const ct_stored *stored);

/* step.c */
typedef struct ct_waiting_steps ct_waiting_steps; /* begins as zeros */
size_t ct_waiting_steps_bytes(void);
/* `waiting`: where the steps of small parameters may be left; NULL: they are done at once. */
ct_status ct_entry_step(ct_optimizer *optimizer, ct_entry *entry, double learning_rate, double gradient_scale,
                        ct_waiting_steps *waiting);
ct_status ct_run_waiting_steps(ct_context *context, ct_waiting_steps *waiting);
int64_t ct_entry_steps(const ct_entry *entry);
/* links.c: `begin` of all links for parameters that have not made a step, `after` for all. */
ct_status ct_links_begin(ct_optimizer *optimizer);
ct_status ct_links_after(ct_optimizer *optimizer, double learning_rate);
bool ct_entry_takes_part(const ct_entry *entry);
double ct_entry_rate(const ct_entry *entry, double learning_rate);
double ct_entry_decay(const ct_entry *entry);

#endif
