/* progress_internal.h - internal: the progress line as text, apart from clocks and terminals. */
#ifndef CARAT_BASE_PROGRESS_INTERNAL_H
#define CARAT_BASE_PROGRESS_INTERNAL_H

#include "carat/base.h"

typedef struct ct_progress_state {
    const char *title, *unit, *note; /* unit and note may be NULL; unit "bytes" is shown in KiB, MiB, ... */
    double done, total;              /* total 0: unknown */
    double rate;                     /* units a second, 0: not known yet */
    double elapsed;                  /* seconds, shown instead of the ETA when finished */
    bool finished;
} ct_progress_state;

/* `columns` > 0: the live form with a bar, at most that many characters; 0: the form for logs. */
void ct_progress_text(const ct_progress_state *state, int columns, char *buffer, size_t size);

/* Whether a live line stands on the terminal of standard error, so that a message must clear it first. */
bool ct_progress_on_terminal(void);

#endif
