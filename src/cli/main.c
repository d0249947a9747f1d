/* main.c - the command: carat VERB ... */
#include "cli/cli.h"
#include <signal.h>
#include <string.h>

const ct_verb *const ct_verbs[] = {&ct_verb_train, &ct_verb_generate, &ct_verb_evaluate, &ct_verb_data,
                                   &ct_verb_plan, &ct_verb_fit, &ct_verb_merge, &ct_verb_distill, &ct_verb_convert, &ct_verb_inspect, &ct_verb_bench, &ct_verb_show, &ct_verb_claims,
                                   NULL};

static void print_help(void) {
    printf("carat %s: everything that is done to a neural network's weights\n\ncarat VERB ...\n\n", CT_VERSION);
    for (int i = 0; ct_verbs[i]; i++) printf("  %-10s %s\n", ct_verbs[i]->name, ct_verbs[i]->summary);
    printf("\ncarat VERB --help lists the options of a verb. Exit codes: 0 done, 1 the work failed, 2 wrong usage.\n");
}

const ct_verb *ct_cli_verb(const char *name) {
    for (int i = 0; ct_verbs[i]; i++)
        if (strcmp(name, ct_verbs[i]->name) == 0) return ct_verbs[i];
    return NULL;
}

static int unknown_verb(const char *name) {
    const char *names[32];
    size_t count = 0;
    for (; ct_verbs[count]; count++) names[count] = ct_verbs[count]->name;
    const char *near = ct_nearest_name(name, names, count);
    fprintf(stderr, "carat: there is no verb \"%s\"", name);
    if (near) fprintf(stderr, "; did you mean \"%s\"?", near);
    fprintf(stderr, "\nTry: carat --help\n");
    return CT_EXIT_USAGE;
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = ct_cli_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        int code = ct_cli_flush();
        return argc < 2 ? CT_EXIT_USAGE : code;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("carat %s\n", CT_VERSION);
        return ct_cli_flush();
    }
    if (strcmp(argv[1], "complete") == 0) return ct_cli_complete(argc - 2, argv + 2);
    const ct_verb *verb = ct_cli_verb(argv[1]);
    return verb ? ct_cli_run(verb, argc - 2, argv + 2) : unknown_verb(argv[1]);
}
