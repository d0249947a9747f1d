/* page.c - claims.html: the summary, then every claim with its sentence, tables, checks and plots. */
#include "claim/parts.h"
#include <carat/plot.h>
#include <math.h>
#include <string.h>

typedef struct page {
    ct_context *context;
    ct_bytes out;
} page;

static double real(const ct_value *map, const char *key) {
    return ct_value_as_real(ct_value_get(map, key), NAN);
}
static const char *string(const ct_value *map, const char *key) {
    return ct_value_as_string(ct_value_get(map, key), "");
}

static void put(page *p, const char *text) {
    ct_bytes_append(p->context, &p->out, text, strlen(text));
}

/* Text between tags or in a quoted attribute. */
static void put_escaped(page *p, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&':
            put(p, "&amp;");
            break;
        case '<':
            put(p, "&lt;");
            break;
        case '>':
            put(p, "&gt;");
            break;
        case '"':
            put(p, "&quot;");
            break;
        default:
            ct_bytes_append(p->context, &p->out, text, 1);
        }
    }
}

static void element(page *p, const char *tag, const char *class, const char *text) {
    ct_claim_print(p->context, &p->out, "<%s%s%s%s>", tag, class ? " class=\"" : "", class ? class : "",
                   class ? "\"" : "");
    put_escaped(p, text);
    ct_claim_print(p->context, &p->out, "</%s>", tag);
}

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Carat: "
    "claims</title>\n<style>\n"
    "body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 62rem; margin: 2rem auto; "
    "padding: 0 1rem; }\n"
    "h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 3rem; border-top: 1px solid #d5dbe3; "
    "padding-top: 1rem; }\n"
    "table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; } caption { text-align: left; "
    "font-weight: 600; }\n"
    "th, td { padding: .25rem .7rem; border-bottom: 1px solid #e3e8ee; text-align: right; vertical-align: "
    "top; }\n"
    "th:first-child, td:first-child, td.words, th.words { text-align: left; }\n"
    ".paper { color: #6b7785; } .facts { color: #6b7785; font-size: .88rem; }\n"
    ".verdict { font-weight: 700; white-space: nowrap; } .holds { color: #1c7a3c; } .not { color: #b3261e; "
    "}\n"
    ".skipped { color: #6b7785; } .failed { color: #9a5b00; } .note { margin: .3rem 0; }\n"
    "figure { margin: 1rem 0; overflow-x: auto; } svg { max-width: 100%; height: auto; "
    "}\n</style>\n</head>\n<body>\n";

static const char *verdict_class(const ct_value *result) {
    static const char *const classes[] = {"verdict holds", "verdict not", "verdict skipped",
                                          "verdict failed"};
    return classes[ct_claim_result_verdict(result)];
}

static const char *verdict_text(const ct_value *result) {
    return ct_claim_verdict_name(ct_claim_result_verdict(result));
}

/* -------------------------------------------------------------------------------------------- summary */

/* The first check is the claim's own headline. */
static const ct_value *headline(const ct_value *result) {
    return ct_value_at(ct_value_get(result, "checks"), 0);
}

static void summary_row(page *p, const ct_value *result) {
    char margin[40], seconds[40];
    const ct_value *check = headline(result);
    put(p, "<tr><td><a href=\"#");
    put_escaped(p, string(result, "name"));
    put(p, "\">");
    put_escaped(p, string(result, "name"));
    put(p, "</a></td>");
    element(p, "td", "words", string(result, "claim"));
    element(p, "td", verdict_class(result), verdict_text(result));
    element(p, "td", NULL, check ? ct_claim_number(real(check, "margin"), -1, margin) : "");
    element(p, "td", NULL, ct_claim_number(real(ct_value_get(result, "run"), "seconds"), 1, seconds));
    put(p, "</tr>\n");
}

static void summary_table(page *p, const ct_value *summary) {
    const ct_value *counts = ct_value_get(summary, "counts"), *list = ct_value_get(summary, "claims");
    put(p, "<h1>Carat: claims</h1>\n<p>");
    ct_claim_print(p->context, &p->out, "%lld hold, %lld do not hold, %lld were skipped, %lld failed.</p>\n",
                   (long long)ct_value_as_int(ct_value_get(counts, "holds"), 0),
                   (long long)ct_value_as_int(ct_value_get(counts, "does_not_hold"), 0),
                   (long long)ct_value_as_int(ct_value_get(counts, "skipped"), 0),
                   (long long)ct_value_as_int(ct_value_get(counts, "failed"), 0));
    put(p, "<p class=\"facts\">The margin is how far the first check of a claim is from failing, in its own "
           "unit.</p>\n"
           "<table>\n<tr><th>claim</th><th class=\"words\">what it "
           "says</th><th>verdict</th><th>margin</th><th>seconds</th>"
           "</tr>\n");
    for (size_t i = 0; i < ct_value_count(list); i++)
        summary_row(p, ct_value_at(list, i));
    put(p, "</table>\n");
}

/* --------------------------------------------------------------------------------------------- tables */

static void table_head(page *p, const ct_value *table) {
    const ct_value *columns = ct_value_get(table, "columns");
    put(p, "<table>\n");
    element(p, "caption", NULL, string(table, "title"));
    put(p, "\n<tr><th></th>");
    for (size_t c = 0; c < ct_value_count(columns); c++) {
        const ct_value *column = ct_value_at(columns, c);
        put(p, "<th>");
        put_escaped(p, string(column, "name"));
        if (*string(column, "unit")) {
            put(p, ", ");
            put_escaped(p, string(column, "unit"));
        }
        put(p, "</th>");
    }
    put(p, "</tr>\n");
}

static void table_row(page *p, const ct_value *columns, const ct_value *row) {
    char text[40];
    const ct_value *values = ct_value_get(row, "values"), *paper = ct_value_get(row, "paper");
    put(p, "<tr>");
    element(p, "td", NULL, string(row, "label"));
    for (size_t c = 0; c < ct_value_count(columns); c++) {
        int digits = (int)ct_value_as_int(ct_value_get(ct_value_at(columns, c), "digits"), -1);
        double reported = ct_value_as_real(ct_value_at(paper, c), NAN);
        put(p, "<td>");
        put(p, ct_claim_number(ct_value_as_real(ct_value_at(values, c), NAN), digits, text));
        if (isfinite(reported)) {
            put(p, " ");
            char words[64];
            snprintf(words, sizeof(words), "(paper %s)", ct_claim_number(reported, digits, text));
            element(p, "span", "paper", words);
        }
        put(p, "</td>");
    }
    put(p, "</tr>\n");
}

static void tables(page *p, const ct_value *list) {
    for (size_t t = 0; t < ct_value_count(list); t++) {
        const ct_value *table = ct_value_at(list, t), *rows = ct_value_get(table, "rows");
        table_head(p, table);
        for (size_t r = 0; r < ct_value_count(rows); r++)
            table_row(p, ct_value_get(table, "columns"), ct_value_at(rows, r));
        put(p, "</table>\n");
    }
}

/* --------------------------------------------------------------------------------------------- checks */

static void interval_cell(page *p, const ct_value *check) {
    char low[40], high[40], text[160] = "";
    const ct_value *interval = ct_value_get(check, "interval");
    if (interval && isfinite(real(interval, "low")))
        snprintf(text, sizeof(text), "%s to %s (%lld seeds%s)",
                 ct_claim_number(real(interval, "low"), -1, low),
                 ct_claim_number(real(interval, "high"), -1, high),
                 (long long)ct_value_as_int(ct_value_get(interval, "count"), 0),
                 ct_value_as_bool(ct_value_get(check, "settled"), false) ? "" : ", not settled by them");
    element(p, "td", "words", text);
}

static void checks(page *p, const ct_value *list) {
    char number[40], expected[64];
    if (ct_value_count(list) == 0) return;
    put(p, "<table>\n<caption>Checks</caption>\n<tr><th>measured</th><th>value</th><th>expected</"
           "th><th>margin</th>"
           "<th class=\"words\">95 % interval</th><th></th></tr>\n");
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *check = ct_value_at(list, i);
        bool holds = ct_value_as_bool(ct_value_get(check, "holds"), false);
        put(p, "<tr>");
        element(p, "td", NULL, string(check, "what"));
        element(p, "td", NULL, ct_claim_number(real(check, "measured"), -1, number));
        snprintf(expected, sizeof(expected), "%s %s", string(check, "relation"),
                 ct_claim_number(real(check, "bound"), -1, number));
        element(p, "td", NULL, expected);
        element(p, "td", NULL, ct_claim_number(real(check, "margin"), -1, number));
        interval_cell(p, check);
        element(p, "td", holds ? "verdict holds" : "verdict not", holds ? "holds" : "does not hold");
        put(p, "</tr>\n");
    }
    put(p, "</table>\n");
}

/* ---------------------------------------------------------------------------------------------- plots */

/* A series whose x is not a number, or goes back, cannot be drawn; nor x <= 0 on a logarithmic axis. */
static size_t drawable_points(const ct_value *series, bool logarithmic, double *x, double *y, size_t most) {
    const ct_value *xs = ct_value_get(series, "x"), *ys = ct_value_get(series, "y");
    size_t count = 0;
    for (size_t i = 0; i < ct_value_count(xs) && count < most; i++) {
        double at = ct_value_as_real(ct_value_at(xs, i), NAN);
        if (!isfinite(at) || (logarithmic && at <= 0) || (count && at < x[count - 1])) continue;
        x[count] = at;
        y[count++] = ct_value_as_real(ct_value_at(ys, i), NAN);
    }
    return count;
}

static char *plot_svg(ct_context *context, const ct_value *plot, const char *prefix) {
    enum { MOST = 1024 };
    const ct_value *list = ct_value_get(plot, "series");
    bool x_log = ct_value_as_bool(ct_value_get(plot, "x_logarithmic"), false), any = false;
    double *points = ct_alloc(context, 2 * MOST * sizeof(double), CT_MEMORY_OTHER);
    ct_plot *drawing = points ? ct_plot_create(context) : NULL;
    char *text = NULL;
    if (drawing) {
        ct_plot_size(drawing, 760, 400);
        ct_plot_title(drawing, string(plot, "title"));
        ct_plot_label(drawing, CT_PLOT_X, string(plot, "x"), x_log);
        ct_plot_label(drawing, CT_PLOT_Y, string(plot, "y"),
                      ct_value_as_bool(ct_value_get(plot, "y_logarithmic"), false));
    }
    for (size_t s = 0; drawing && s < ct_value_count(list) && s < CT_PLOT_SERIES; s++) {
        const ct_value *series = ct_value_at(list, s);
        size_t count = drawable_points(series, x_log, points, points + MOST, MOST);
        if (count) ct_plot_series(drawing, string(series, "name"), points, points + MOST, count);
        for (size_t i = 0; i < count; i++)
            any = any || isfinite(points[MOST + i]);
    }
    if (drawing && any && !ct_failed(context)) text = ct_plot_svg(drawing, prefix);
    ct_plot_destroy(drawing);
    ct_free(context, points);
    return text;
}

static void plots(page *p, const ct_value *list, size_t claim) {
    for (size_t i = 0; i < ct_value_count(list) && !ct_failed(p->context); i++) {
        char prefix[48], message[512];
        ct_try trial;
        snprintf(prefix, sizeof(prefix), "c%zu-%zu-", claim, i);
        ct_try_begin(p->context, &trial);
        char *svg = plot_svg(p->context, ct_value_at(list, i), prefix);
        ct_status status = ct_try_end(p->context, &trial, message, sizeof(message));
        if (svg) {
            put(p, "<figure>\n");
            put(p, svg);
            put(p, "</figure>\n");
        } else if (status != CT_OK) { /* nothing to show on this axis: said, and the page goes on */
            element(p, "p", "note", message);
        }
        ct_free(p->context, svg);
    }
}

/* --------------------------------------------------------------------------------------------- a claim */

static void facts(page *p, const ct_value *result) {
    char number[40];
    const ct_value *run = ct_value_get(result, "run"), *seeds = ct_value_get(result, "seeds"),
                   *methods = ct_value_get(result, "methods");
    put(p, "<p class=\"facts\">");
    if (*string(result, "card")) {
        put(p, "Card ");
        put_escaped(p, string(result, "card"));
        put(p, ". ");
    } else {
        put(p, "No card: an everyday fact. ");
    }
    for (size_t i = 0; i < ct_value_count(methods); i++) {
        put(p, i ? ", " : "Methods: ");
        put_escaped(p, ct_value_as_string(ct_value_at(methods, i), ""));
    }
    if (ct_value_count(methods)) put(p, ". ");
    for (size_t i = 0; i < ct_value_count(seeds); i++)
        ct_claim_print(p->context, &p->out, "%s%lld", i ? ", " : "Seeds ",
                       (long long)ct_value_as_int(ct_value_at(seeds, i), 0));
    put(p, ct_value_count(seeds) ? ". " : "");
    ct_claim_print(p->context, &p->out, "%s seconds on %lld threads of ",
                   ct_claim_number(real(run, "seconds"), 1, number),
                   (long long)ct_value_as_int(ct_value_get(run, "threads"), 0));
    put_escaped(p, string(run, "machine"));
    put(p, " (");
    put_escaped(p, string(run, "isa"));
    put(p, "), ");
    put_escaped(p, string(run, "date"));
    put(p, ", build ");
    put_escaped(p, string(run, "build"));
    put(p, ".</p>\n");
}

static void claim(page *p, const ct_value *result, size_t index) {
    const ct_value *notes = ct_value_get(result, "notes");
    put(p, "<h2 id=\"");
    put_escaped(p, string(result, "name"));
    put(p, "\">");
    put_escaped(p, string(result, "name"));
    put(p, " ");
    element(p, "span", verdict_class(result), verdict_text(result));
    put(p, "</h2>\n");
    element(p, "p", NULL, string(result, "claim"));
    put(p, "\n<p class=\"paper\">");
    put_escaped(p, string(result, "paper"));
    put(p, *string(result, "paper") && *string(result, "reported") ? ": " : "");
    put_escaped(p, string(result, "reported"));
    put(p, "</p>\n");
    if (*string(result, "reason")) element(p, "p", verdict_class(result), string(result, "reason"));
    checks(p, ct_value_get(result, "checks"));
    tables(p, ct_value_get(result, "tables"));
    for (size_t i = 0; i < ct_value_count(notes); i++)
        element(p, "p", "note", ct_value_as_string(ct_value_at(notes, i), ""));
    plots(p, ct_value_get(result, "plots"), index);
    facts(p, result);
}

ct_status ct_claim_write_page(ct_context *context, const ct_value *summary, const char *path) {
    if (ct_failed(context)) return ct_context_status(context);
    page p = {context, {0}};
    const ct_value *list = ct_value_get(summary, "claims");
    put(&p, head);
    summary_table(&p, summary);
    for (size_t i = 0; i < ct_value_count(list); i++)
        claim(&p, ct_value_at(list, i), i);
    put(&p, "</body>\n</html>\n");
    if (!ct_failed(context)) ct_file_write(context, path, p.out.data, p.out.length);
    ct_bytes_free(context, &p.out);
    return ct_context_status(context);
}
