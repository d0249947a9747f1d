/* world.h - a context and a folder with one file for each test; a test program says before it includes this
 *   WORLD_FILE   the file's name
 *   WORLD_MORE   (if anything) more members of `world`, zero at first
 *   WORLD_LEAVE  (if anything) what frees them, of `here` */
#ifndef CARAT_TESTS_FORMAT_WORLD_H
#define CARAT_TESTS_FORMAT_WORLD_H

#include "check.h"

#ifndef WORLD_MORE
#define WORLD_MORE
#endif
#ifndef WORLD_LEAVE
#define WORLD_LEAVE
#endif

typedef struct world {
    ct_context *context;
    char folder[64];
    char *path; /* FOLDER/WORLD_FILE */
    WORLD_MORE
} world;

static int enter(void **state) {
    world *here = calloc(1, sizeof *here);
    here->context = start_context(1);
    make_folder(here->folder);
    here->path = ct_path_join(here->context, here->folder, WORLD_FILE);
    *state = here;
    return 0;
}

static int leave(void **state) {
    world *here = *state;
    ct_free(here->context, here->path);
    ct_folder_remove(here->context, here->folder);
    end_context(here->context);
    WORLD_LEAVE
    free(here);
    return 0;
}

#endif
