/* cli.c - arguments by option tables, help, output, exit codes. */
#include "cli/cli.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct common_options {
    bool json, quiet, verbose, help;
    int64_t threads;
    const ct_value *plugin;
} common_options;

/* The first is for verbs that use methods. */
static const ct_option common_table[] = {
    CT_OPTION_VALUE("plugin", common_options, plugin,
                    "shared object with methods of your own (docs/plugins.md); may be given more than once"),
    CT_OPTION_BOOL("json", common_options, json, false, "results as one JSON line on standard output"),
    CT_OPTION_BOOL("quiet", common_options, quiet, false, "no progress, no words; errors and results only"),
    CT_OPTION_BOOL("verbose", common_options, verbose, false,
                   "more words on standard error, tables of details too"),
    CT_OPTION_INT("threads", common_options, threads, 0, 0, 1024,
                  "workers; 0: one a CPU. Results are the same"),
    CT_OPTION_BOOL("help", common_options, help, false, "show this text"),
    CT_OPTION_END};

const ct_option *ct_cli_common(const ct_verb *verb) { return common_table + !verb->methods; }

/* ------------------------------------------------------------------------------------------- output */

void ct_cli_say(ct_cli *cli, const char *format, ...) {
    if (cli->quiet || cli->json) return;
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

void ct_cli_print_json(ct_cli *cli, ct_value *value) {
    char *text = ct_json_text(cli->context, value, CT_JSON_COMPACT | CT_JSON_STRICT, NULL);
    if (text) printf("%s\n", text);
    ct_free(cli->context, text);
    ct_value_free(value);
}

/* A full disk or a reader that went away is noticed here at the latest. */
int ct_cli_flush(void) {
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !failed) return CT_EXIT_DONE;
    fprintf(stderr, "carat: standard output: cannot write\n");
    clearerr(stdout);
    return CT_EXIT_FAILED;
}

void ct_cli_plain(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) *at++ = '?', *at = '?';
        else if ((*at < 32 && *at != '\n' && *at != '\t') || *at == 127) *at = '?';
    }
}

int ct_cli_finish(ct_cli *cli) {
    if (!ct_failed(cli->context)) return CT_EXIT_DONE;
    char message[1024];
    snprintf(message, sizeof message, "%s", ct_context_message(cli->context));
    ct_cli_plain(message);
    fprintf(stderr, "carat %s: %s\n", cli->verb->name, message);
    return ct_context_status(cli->context) == CT_ERROR_ARGUMENT ? CT_EXIT_USAGE : CT_EXIT_FAILED;
}

int ct_cli_usage(ct_cli *cli, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "carat %s: ", cli->verb->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nTry: carat %s --help\n", cli->verb->name);
    va_end(arguments);
    return CT_EXIT_USAGE;
}

static void print_options(ct_context *context, const ct_option *table) {
    char *text = ct_options_help(context, table, "");
    if (text) printf("%s", text);
    ct_free(context, text);
}

void ct_cli_print_help(ct_context *context, const ct_verb *verb) {
    ct_option common[sizeof(common_table) / sizeof(common_table[0])] = {CT_OPTION_END};
    int count = 0; /* common options that the verb does not describe itself */
    for (const ct_option *o = ct_cli_common(verb); o->type != CT_TYPE_END; o++) {
        bool own = false;
        for (int i = 0; verb->tables[i] && !own; i++)
            own = ct_options_find(verb->tables[i], o->name) != NULL;
        if (!own) common[count++] = *o;
    }
    printf("carat %s %s\n\n%s.\n", verb->name, verb->arguments, verb->summary);
    if (verb->details) printf("\n%s\n", verb->details);
    printf("\nOptions (as --name VALUE, --name=VALUE or name=VALUE):\n");
    for (int i = 0; verb->tables[i]; i++)
        print_options(context, verb->tables[i]);
    print_options(context, common);
    if (verb->examples) printf("\nExamples:\n");
    for (int i = 0; verb->examples && verb->examples[i]; i++) printf("  %s\n", verb->examples[i]);
}

/* ---------------------------------------------------------------------------------------- arguments */

static const ct_option *find_option(const ct_verb *verb, const char *path) {
    for (int i = 0; verb->tables[i]; i++) {
        const ct_option *found = ct_options_find(verb->tables[i], path);
        if (found) return found;
    }
    return ct_options_find(ct_cli_common(verb), path);
}

/* The option a dotted path leads to, or the free-form value ("model.n_layer") that it leads into. */
static const ct_option *find_along(const ct_verb *verb, const char *path) {
    const ct_option *found = find_option(verb, path);
    char prefix[256];
    snprintf(prefix, sizeof(prefix), "%s", path);
    for (char *dot; !found && (dot = strrchr(prefix, '.'));) {
        *dot = 0;
        const ct_option *above = find_option(verb, prefix);
        if (above && above->type == CT_TYPE_VALUE) found = above;
    }
    return found;
}

static size_t collect_names(const ct_verb *verb, const char **names, size_t most) {
    size_t count = 0;
    for (int i = 0; i == 0 || verb->tables[i - 1]; i++) {
        const ct_option *table = verb->tables[i] ? verb->tables[i] : ct_cli_common(verb);
        for (; table->type != CT_TYPE_END && count < most; table++) names[count++] = table->name;
    }
    return count;
}

static int unknown_option(ct_cli *cli, const char *name) {
    const char *names[256];
    const char *near = ct_nearest_name(name, names, collect_names(cli->verb, names, 256));
    if (near) return ct_cli_usage(cli, "unknown option \"%s\"; did you mean \"%s\"?", name, near);
    return ct_cli_usage(cli, "unknown option \"%s\"", name);
}

/* `-` is as good as `_` in flags. */
static void normalise(char *name) {
    for (; *name; name++)
        if (*name == '-') *name = '_';
}

/* Adds to the list that an option given more than once is. */
static int add_plugin(ct_cli *cli, const char *path) {
    ct_value *list = ct_value_get(cli->options, "plugin");
    if (!list) {
        ct_value_set(cli->options, "plugin", ct_value_list(cli->context));
        list = ct_value_get(cli->options, "plugin");
    }
    if (list) ct_value_append(list, ct_value_string(cli->context, path));
    return ct_failed(cli->context) ? ct_cli_finish(cli) : 0;
}

static int set_option(ct_cli *cli, const char *name, const ct_option *option, const char *text) {
    ct_context *context = cli->context;
    if (option == &common_table[0]) return add_plugin(cli, text);
    bool plain = option->type == CT_TYPE_STRING || option->type == CT_TYPE_CHOICE || option->type == CT_TYPE_BYTES;
    bool within = strcmp(option->name, strrchr(name, '.') ? strrchr(name, '.') + 1 : name) != 0 &&
                  !(option->alias && strcmp(option->alias, name) == 0);
    ct_value *value = plain && !within && strcmp(text, "null") != 0 ? ct_value_string(context, text)
                                                                    : ct_value_parse_scalar(context, text);
    ct_value_set_origin(value, "command line", 0);
    const char *key = option->alias && strcmp(option->alias, name) == 0 ? option->name : name;
    ct_value_set_path(cli->options, key, value);
    return ct_failed(context) ? ct_cli_finish(cli) : 0;
}

/* What a yes or no may be given as; NULL for other text. */
static const char *truth(const char *text) {
    if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0) return "true";
    return strcmp(text, "0") == 0 || strcmp(text, "false") == 0 ? "false" : NULL;
}

/* Takes the argument at *i (and the next one if it is its value; a yes or no needs none). */
static int take_flag(ct_cli *cli, int argc, char **argv, int *i) {
    char name[256];
    snprintf(name, sizeof(name), "%s", argv[*i] + 2);
    char *equals = strchr(name, '=');
    if (equals) *equals = 0;
    normalise(name);
    const ct_option *option = find_along(cli->verb, name);
    if (!option && strncmp(name, "no_", 3) == 0) {
        option = find_along(cli->verb, name + 3);
        if (option && option->type == CT_TYPE_BOOL) return set_option(cli, name + 3, option, "false");
        option = NULL;
    }
    if (!option) return unknown_option(cli, name);
    bool yes_or_no = option->type == CT_TYPE_BOOL;
    const char *given = equals ? strchr(argv[*i], '=') + 1 : *i + 1 < argc ? argv[*i + 1] : "";
    const char *said = yes_or_no ? truth(given) : NULL;
    if (equals) return set_option(cli, name, option, said ? said : given);
    if (said) ++*i;
    if (yes_or_no) return set_option(cli, name, option, said ? said : "true");
    if (*i + 1 >= argc) return ct_cli_usage(cli, "--%s needs a value", name);
    return set_option(cli, name, option, argv[++*i]);
}

/* -o FILE is --out FILE, where a verb has that. */
static int take_out(ct_cli *cli, int argc, char **argv, int *i) {
    const ct_option *option = find_option(cli->verb, "out");
    if (!option) return ct_cli_usage(cli, "unknown option \"-o\"");
    if (*i + 1 >= argc) return ct_cli_usage(cli, "-o needs a value");
    return set_option(cli, "out", option, argv[++*i]);
}

static bool is_assignment(const char *text) {
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
    return n > 0 && text[n] == '=';
}

static int take_assignment(ct_cli *cli, const char *text) {
    char name[256];
    size_t length = strcspn(text, "=");
    snprintf(name, sizeof(name), "%.*s", (int)length, text);
    const ct_option *option = find_along(cli->verb, name);
    return option ? set_option(cli, name, option, text + length + 1) : unknown_option(cli, name);
}

static int parse(ct_cli *cli, int argc, char **argv) {
    int code = 0;
    bool only_positional = false;
    for (int i = 0; i < argc && code == 0; i++) {
        const char *text = argv[i];
        if (!only_positional && strcmp(text, "--") == 0) only_positional = true;
        else if (!only_positional && strcmp(text, "-h") == 0) code = set_option(cli, "help", find_option(cli->verb, "help"), "true");
        else if (!only_positional && strcmp(text, "-o") == 0) code = take_out(cli, argc, argv, &i);
        else if (!only_positional && strncmp(text, "--", 2) == 0) code = take_flag(cli, argc, argv, &i);
        else if (!only_positional && is_assignment(text)) code = take_assignment(cli, text);
        else if (cli->positional_count == (int)(sizeof(cli->positional) / sizeof(cli->positional[0])))
            code = ct_cli_usage(cli, "too many arguments");
        else cli->positional[cli->positional_count++] = text;
    }
    return code;
}

ct_status ct_cli_options(ct_cli *cli, const ct_option *table, void *target) {
    ct_context *context = cli->context;
    const char *skip[512];
    size_t count = 0;
    for (int i = 0; i == 0 || cli->verb->tables[i - 1]; i++) {
        const ct_option *other = cli->verb->tables[i] ? cli->verb->tables[i] : ct_cli_common(cli->verb);
        if (other == table) continue;
        for (; other->type != CT_TYPE_END && count < 511; other++)
            if (!ct_options_find(table, other->name)) skip[count++] = other->name;
    }
    skip[count] = NULL;
    ct_options_default(table, target);
    return ct_options_apply(context, table, target, cli->options, "", skip);
}

/* --------------------------------------------------------------------------------------------- main */

static ct_context *interrupted_context;
static volatile int interruptions, last_signal;

void ct_cli_interrupt(int signal_number) {
    last_signal = signal_number;
    if (interruptions++) _Exit(128 + signal_number);
    if (interrupted_context) ct_request_stop(interrupted_context);
}

bool ct_cli_interrupt_forget(ct_context *context) {
    if (interruptions && last_signal != SIGINT) return false;
    interruptions = 0;
    ct_clear_stop(context);
    return true;
}

static void set_up_output(ct_cli *cli, bool verbose) {
    ct_log_level level = verbose ? CT_LOG_DEBUG : cli->quiet || cli->json ? CT_LOG_WARNING : CT_LOG_INFO;
    ct_context_set_log(cli->context, ct_log_to_stderr, NULL, level);
    if (cli->quiet || cli->json) return;
    cli->progress = ct_progress_line_create(stderr, 5.0);
    if (cli->progress) ct_context_set_progress(cli->context, ct_progress_line_sink, cli->progress);
}

static ct_status load_plugins(ct_cli *cli, const ct_value *paths) {
    for (size_t i = 0; i < ct_value_count(paths); i++)
        if (ct_plugin_load(cli->context, ct_value_as_string(ct_value_at(paths, i), "")) != CT_OK) break;
    return ct_context_status(cli->context);
}

static int run_verb(ct_cli *cli, int argc, char **argv) {
    common_options common = {.plugin = NULL};
    int code = parse(cli, argc, argv);
    if (code) return code;
    if (ct_cli_options(cli, ct_cli_common(cli->verb), &common) != CT_OK) return ct_cli_finish(cli);
    if (common.help) {
        ct_cli_print_help(cli->context, cli->verb);
        return CT_EXIT_DONE;
    }
    cli->json = common.json;
    cli->quiet = common.quiet;
    if (common.quiet && common.verbose) return ct_cli_usage(cli, "quiet and verbose: expected one of them");
    if (common.threads && ct_context_set_threads(cli->context, (int)common.threads) != CT_OK)
        return ct_cli_finish(cli);
    if (cli->positional_count < cli->verb->least)
        return ct_cli_usage(cli, "expected: carat %s %s", cli->verb->name, cli->verb->arguments);
    if (cli->verb->most >= 0 && cli->positional_count > cli->verb->most)
        return ct_cli_usage(cli, "unexpected argument \"%s\"", cli->positional[cli->verb->most]);
    set_up_output(cli, common.verbose);
    if (load_plugins(cli, common.plugin) != CT_OK) return ct_cli_finish(cli);
    return cli->verb->run(cli);
}

int ct_cli_run(const ct_verb *verb, int argc, char **argv) {
    ct_cli *cli = calloc(1, sizeof(*cli));
    ct_context *context = cli ? ct_context_create(0) : NULL;
    if (!context) {
        fprintf(stderr, "carat: out of memory\n");
        free(cli);
        return CT_EXIT_FAILED;
    }
    cli->context = interrupted_context = context;
    cli->verb = verb;
    cli->options = ct_value_map(context);
    int code = cli->options ? run_verb(cli, argc, argv) : ct_cli_finish(cli);
    interrupted_context = NULL;
    if (ct_cli_flush() != CT_EXIT_DONE && code == CT_EXIT_DONE) code = CT_EXIT_FAILED;
    ct_value_free(cli->options);
    ct_progress_line_destroy(cli->progress);
    ct_context_destroy(context);
    free(cli);
    return code;
}
