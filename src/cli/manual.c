/* manual.c - the manual pages of the command, from the same tables as --help. */
#include "base/options_internal.h"
#include "cli/cli.h"
#include <string.h>

/* Text as roff wants it: no line begins with a control character, `-` is the one that can be copied. */
static void escaped(ct_writer *page, const char *words) {
    bool begins = true;
    for (; words && *words; words++) {
        if (begins && (*words == '.' || *words == '\'')) ct_writer_printf(page, "\\&");
        begins = *words == '\n';
        if (*words == '\\')
            ct_writer_printf(page, "\\e");
        else if (*words == '-')
            ct_writer_printf(page, "\\-");
        else
            ct_writer_write(page, words, 1);
    }
}

static void heading(ct_writer *page, const char *name, const char *summary) {
    ct_writer_printf(page, ".\\\" Written by `carat show --man` from the tables of the command.\n.TH \"");
    for (const char *c = name; *c; c++)
        ct_writer_printf(page, "%s%c", *c == '-' ? "\\" : "", *c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    ct_writer_printf(page, "\" 1 \"\" \"carat %s\" \"Carat\"\n.SH NAME\n", CT_VERSION);
    escaped(page, name);
    ct_writer_printf(page, " \\- ");
    escaped(page, summary);
    ct_writer_printf(page, "\n.SH SYNOPSIS\n");
}

static void options(ct_writer *page, const ct_option *table, const char *prefix) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        char name[256], type[512], preset[128], range[128];
        snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", o->name);
        if (o->type == CT_TYPE_GROUP) {
            options(page, o->children, name);
            continue;
        }
        ct_writer_printf(page, ".TP\n\\fB\\-\\-%s\\fR", name);
        if (o->alias) ct_writer_printf(page, ", \\fB\\-\\-%s%s%s\\fR", prefix, *prefix ? "." : "", o->alias);
        ct_writer_printf(page, " \\fI");
        escaped(page, ct_option_type_text(o, type, sizeof(type)));
        ct_writer_printf(page, "\\fR\n");
        escaped(page, o->help ? o->help : "");
        if (*ct_option_default_text(o, preset, sizeof(preset))) {
            ct_writer_printf(page, "\n.br\nDefault: ");
            escaped(page, preset);
        }
        if (*ct_option_range_text(o, range, sizeof(range))) {
            ct_writer_printf(page, "\n.br\nRange: ");
            escaped(page, range);
        }
        ct_writer_printf(page, "\n");
    }
}

static void exit_status(ct_writer *page) {
    ct_writer_printf(page, ".SH \"EXIT STATUS\"\n0 when done, 1 when the work failed, 2 for wrong usage.\n");
}

static void verb_page(ct_writer *page, const ct_verb *verb) {
    char name[64];
    snprintf(name, sizeof(name), "carat-%s", verb->name);
    heading(page, name, verb->summary);
    ct_writer_printf(page, "\\fBcarat %s\\fR ", verb->name);
    escaped(page, verb->arguments);
    ct_writer_printf(page, "\n.SH DESCRIPTION\n");
    escaped(page, verb->summary);
    ct_writer_printf(page, ".\n");
    if (verb->details) {
        ct_writer_printf(page, ".PP\n");
        escaped(page, verb->details);
        ct_writer_printf(page, "\n");
    }
    ct_writer_printf(page,
                     ".SH OPTIONS\nAs \\fB\\-\\-name\\fR \\fIVALUE\\fR, \\fB\\-\\-name=\\fR\\fIVALUE\\fR or "
                     "\\fBname=\\fR\\fIVALUE\\fR.\n");
    for (int i = 0; verb->tables[i]; i++)
        options(page, verb->tables[i], "");
    for (const ct_option *o = ct_cli_common(verb); o->type != CT_TYPE_END; o++) {
        bool own = false;
        for (int i = 0; verb->tables[i]; i++)
            own |= ct_options_find(verb->tables[i], o->name) != NULL;
        const ct_option one[] = {*o, CT_OPTION_END};
        if (!own) options(page, one, "");
    }
    exit_status(page);
    if (verb->examples) ct_writer_printf(page, ".SH EXAMPLES\n.nf\n");
    for (int i = 0; verb->examples && verb->examples[i]; i++) {
        escaped(page, verb->examples[i]);
        ct_writer_printf(page, "\n");
    }
    if (verb->examples) ct_writer_printf(page, ".fi\n");
    ct_writer_printf(page, ".SH \"SEE ALSO\"\n\\fBcarat\\fR(1)\n");
}

static void main_page(ct_writer *page) {
    heading(page, "carat", "everything that is done to a neural network's weights");
    ct_writer_printf(
        page,
        "\\fBcarat\\fR \\fIVERB\\fR ...\n.br\n\\fBcarat \\-\\-help\\fR\n.br\n\\fBcarat \\-\\-version\\fR\n"
        ".SH VERBS\n");
    for (int i = 0; ct_verbs[i]; i++) {
        ct_writer_printf(page, ".TP\n\\fBcarat\\-%s\\fR(1)\n", ct_verbs[i]->name);
        escaped(page, ct_verbs[i]->summary);
        ct_writer_printf(page, "\n");
    }
    exit_status(page);
    ct_writer_printf(page, ".SH \"SEE ALSO\"\n");
    for (int i = 0; ct_verbs[i]; i++)
        ct_writer_printf(page, "\\fBcarat\\-%s\\fR(1)%s\n", ct_verbs[i]->name, ct_verbs[i + 1] ? "," : "");
}

/* The page of a verb; NULL: that of the command. */
static ct_status write_page(ct_context *context, const char *folder, const ct_verb *verb) {
    char name[64];
    snprintf(name, sizeof(name), "carat%s%s.1", verb ? "-" : "", verb ? verb->name : "");
    char *path = ct_path_join(context, folder, name);
    ct_writer *page = path ? ct_writer_open(context, path) : NULL;
    ct_free(context, path);
    if (!page) return ct_context_status(context);
    if (verb)
        verb_page(page, verb);
    else
        main_page(page);
    return ct_writer_commit(page);
}

ct_status ct_cli_write_manual(ct_context *context, const char *folder) {
    ct_status status = ct_folder_make(context, folder);
    for (int i = 0; status == CT_OK && ct_verbs[i]; i++)
        status = write_page(context, folder, ct_verbs[i]);
    return status == CT_OK ? write_page(context, folder, NULL) : status;
}
