/* cli.h - what the verbs of the command share: arguments by option tables, output, exit codes. */
#ifndef CARAT_SRC_CLI_CLI_H
#define CARAT_SRC_CLI_CLI_H

#include <carat.h>

/* Option tables of a verb, with the NULL behind them. */
enum { CT_VERB_TABLES = 12 };

enum { CT_EXIT_DONE = 0, CT_EXIT_FAILED = 1, CT_EXIT_USAGE = 2 };

typedef struct ct_cli ct_cli;

/* One word after `carat`. Flags are made from the tables: --name VALUE, --name=VALUE or name=VALUE. */
typedef struct ct_verb {
    const char *name;
    const char *arguments; /* "RECIPE [key=value ...]" */
    const char *summary;
    const char *details;        /* a paragraph for --help; may be NULL */
    const ct_option *tables[CT_VERB_TABLES]; /* NULL-terminated */
    int least, most;            /* positional arguments; most -1: any number */
    bool methods;               /* it uses methods by name, so it takes --plugin */
    const char *const *examples; /* NULL-terminated; each is run by the tests */
    int (*run)(ct_cli *cli);
} ct_verb;

struct ct_cli {
    ct_context *context;
    const ct_verb *verb;
    const char *positional[256];
    int positional_count;
    ct_value *options; /* map of what was given */
    bool json, quiet;
    ct_progress_line *progress;
};

/* The verbs, NULL-terminated, in the order of `carat --help`. */
extern const ct_verb *const ct_verbs[];
extern const ct_verb ct_verb_train, ct_verb_generate, ct_verb_evaluate, ct_verb_data, ct_verb_plan, ct_verb_show,
    ct_verb_fit, ct_verb_merge, ct_verb_distill, ct_verb_convert, ct_verb_inspect, ct_verb_bench, ct_verb_claims;

/* Fills `target` from `table` with the options given; keys of other tables are passed over. */
ct_status ct_cli_options(ct_cli *cli, const ct_option *table, void *target);
/* Prints the context's error and gives the exit code: 2 for wrong usage, else 1. */
int ct_cli_finish(ct_cli *cli);
/* Wrong usage: message, hint at --help, exit code 2. */
int ct_cli_usage(ct_cli *cli, const char *format, ...) CT_PRINTF(2, 3);
/* Makes text from files harmless to a terminal: control characters, which could be its commands, become '?'. */
void ct_cli_plain(char *text);
/* Flushes standard output: CT_EXIT_FAILED, and an error line, if anything written to it was lost. */
int ct_cli_flush(void);
/* One line of JSON on standard output; takes the value over. */
void ct_cli_print_json(ct_cli *cli, ct_value *value);
/* A line on standard output unless --quiet or --json. */
void ct_cli_say(ct_cli *cli, const char *format, ...) CT_PRINTF(2, 3);
/* Runs a verb on the arguments after it, in a context of its own. */
int ct_cli_run(const ct_verb *verb, int argc, char **argv);
/* Signal handler: the first signal asks the work to save and stop, the second ends the program at once. */
void ct_cli_interrupt(int signal_number);
/* After Ctrl-C: the work goes on and the next signal is a first one again. False, and nothing is taken back, when
 * another signal asked for the end. */
bool ct_cli_interrupt_forget(ct_context *context);
void ct_cli_print_help(ct_context *context, const ct_verb *verb);
/* The options that the verb has beside those of its own tables: json, quiet, verbose, threads, help, and plugin if it uses
 * methods. */
const ct_option *ct_cli_common(const ct_verb *verb);
/* The verb of that name, or NULL. */
const ct_verb *ct_cli_verb(const char *name);
/* Writes carat.1 and a page for every verb, carat-VERB.1, from the tables that --help uses. */
ct_status ct_cli_write_manual(ct_context *context, const char *folder);
/* `carat complete WORD...`, for the shell: prints what the last word can become. */
int ct_cli_complete(int count, char **words);

#endif
