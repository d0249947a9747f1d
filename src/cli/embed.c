/* embed.c - carat evaluate embed: vectors of texts, written as npz, and searched. */
#include "cli/embed.h"
#include "cli/report.h"
#include <carat/npz.h>
#include <string.h>

typedef struct embed_flags {
    const char *text, *out, *vectors, *query;
    int64_t top;
} embed_flags;

const ct_option ct_cli_embed_table[] = {
    CT_OPTION_STRING("text", embed_flags, text, NULL,
                     "embed: texts, a line each, or a .jsonl or .tsv (--field names the field or column)"),
    CT_OPTION_STRING("out", embed_flags, out, NULL, "embed: an .npz for the vectors and texts"),
    CT_OPTION_STRING("vectors", embed_flags, vectors, NULL, "embed: an .npz written before, to search"),
    CT_OPTION_STRING("query", embed_flags, query, NULL, "embed: a text whose nearest are shown"),
    CT_OPTION_INT("top", embed_flags, top, 5, 1, 1e6, "embed: how many of them"),
    CT_OPTION_END};

/* Texts and their vectors, [count][width]. */
typedef struct collection {
    ct_texts texts; /* count 0 where a file of vectors has none */
    float *vectors;
    int64_t count, width;
} collection;

/* ------------------------------------------------------------------------------------------------ npz */

static ct_status write_npz(ct_context *context, const char *path, const collection *c) {
    ct_npz_writer *writer = ct_npz_create(context, path);
    if (!writer) return ct_context_status(context);
    int64_t bytes = (int64_t)c->texts.bytes.length;
    ct_npz_begin(writer, "vectors", CT_FILE_F32, 2, (const int64_t[]){c->count, c->width});
    ct_npz_write(writer, c->vectors, (size_t)(c->count * c->width) * sizeof(float));
    ct_npz_begin(writer, "text_bytes", CT_FILE_U8, 1, &bytes);
    ct_npz_write(writer, c->texts.bytes.data, (size_t)bytes);
    ct_npz_begin(writer, "text_ends", CT_FILE_I64, 1, &c->count);
    for (int64_t i = 0; i < c->count && !ct_failed(context); i++) {
        int64_t end = (int64_t)c->texts.ends[i];
        ct_npz_write(writer, &end, sizeof(end));
    }
    if (!ct_failed(context)) return ct_npz_commit(writer);
    ct_npz_abandon(writer);
    return ct_context_status(context);
}

/* The texts of such a file: their ends must rise and stay within the bytes. */
static ct_status read_texts(ct_context *context, ct_npz *file, collection *c) {
    const ct_npz_array *bytes = ct_npz_find(file, "text_bytes"), *ends = ct_npz_find(file, "text_ends");
    if (!bytes || !ends) return CT_OK;
    if (bytes->dtype != CT_FILE_U8 || bytes->rank != 1 || !bytes->readable || ends->dtype != CT_FILE_I64 ||
        ends->rank != 1 || !ends->readable || ends->count != c->count)
        return ct_fail(
            context, CT_ERROR_FORMAT,
            "%s: expected text_bytes of type u1 and text_ends of type i8 [%lld], one of each vector",
            ct_npz_path(file), (long long)c->count);
    char *data = ct_alloc(context, bytes->size + 1, CT_MEMORY_OTHER);
    int64_t *end = data ? ct_alloc(context, ends->size + 1, CT_MEMORY_OTHER) : NULL;
    int64_t before = 0;
    if (end && ct_npz_read(file, bytes, data, 0, bytes->size) == CT_OK &&
        ct_npz_read(file, ends, end, 0, ends->size) == CT_OK)
        for (int64_t i = 0; i < c->count && !ct_failed(context); i++) {
            if (end[i] < before || end[i] > bytes->count) {
                ct_fail(context, CT_ERROR_FORMAT, "%s: text_ends[%lld] is %lld, expected %lld to %lld",
                        ct_npz_path(file), (long long)i, (long long)end[i], (long long)before,
                        (long long)bytes->count);
                break;
            }
            ct_texts_append(context, &c->texts, data + before, (size_t)(end[i] - before));
            before = end[i];
        }
    ct_free(context, data);
    ct_free(context, end);
    return ct_context_status(context);
}

static ct_status read_npz(ct_context *context, const char *path, int64_t width, collection *c) {
    ct_npz *file = ct_npz_open(context, path);
    const ct_npz_array *array = file ? ct_npz_need(file, "vectors") : NULL;
    if (array &&
        (array->dtype != CT_FILE_F32 || array->rank != 2 || !array->readable || array->shape[1] != width))
        ct_fail(context, CT_ERROR_SHAPE,
                "%s: expected vectors of type f4 and shape [texts, %lld], the model's width", path,
                (long long)width);
    if (array && !ct_failed(context)) {
        c->count = array->shape[0];
        c->width = width;
        c->vectors = ct_alloc(context, array->size + 1, CT_MEMORY_OTHER);
        if (c->vectors && ct_npz_read(file, array, c->vectors, 0, array->size) == CT_OK)
            read_texts(context, file, c);
    }
    ct_npz_close(file);
    return ct_context_status(context);
}

/* --------------------------------------------------------------------------------------- embedding */

static ct_status embed_texts(ct_context *context, ct_embedder *embedder, collection *c) {
    c->count = c->texts.count;
    c->width = ct_embedder_width(embedder);
    ct_text *list = ct_alloc(context, (size_t)c->count * sizeof(*list) + 1, CT_MEMORY_WORKSPACE);
    if (c->count <= INT64_MAX / c->width / (int64_t)sizeof(float))
        c->vectors = ct_alloc(context, (size_t)(c->count * c->width) * sizeof(float) + 1, CT_MEMORY_OTHER);
    for (int64_t i = 0; list && i < c->count; i++)
        list[i] = ct_texts_at(&c->texts, i);
    if (list && c->vectors) ct_embed_texts(embedder, list, c->count, c->vectors);
    ct_free(context, list);
    return ct_context_status(context);
}

static void print_found(ct_cli *cli, const collection *c, const ct_neighbour *found, int64_t count,
                        ct_value *report) {
    ct_context *context = cli->context;
    ct_value *list = report ? ct_value_list(context) : NULL;
    for (int64_t i = 0; i < count; i++) {
        ct_text text = c->texts.count ? ct_texts_at(&c->texts, found[i].index) : (ct_text){"", 0};
        if (!report) {
            printf("%.6f\t%lld\t%.*s\n", found[i].cosine, (long long)found[i].index, (int)text.length,
                   text.data);
            continue;
        }
        ct_value *entry = ct_value_map(context);
        if (!entry) break;
        ct_cli_put_real(entry, "cosine", found[i].cosine, context);
        ct_cli_put_int(entry, "index", found[i].index, context);
        if (c->texts.count) ct_cli_put_bytes(entry, "text", text.data, text.length, context);
        ct_value_append(list, entry);
    }
    if (report) ct_value_set(report, "nearest", list);
}

static ct_status search(ct_cli *cli, ct_embedder *embedder, const embed_flags *flags, const collection *c,
                        ct_value *report) {
    ct_context *context = cli->context;
    int64_t most = flags->top < c->count ? flags->top : c->count;
    const ct_text text = {flags->query, strlen(flags->query)};
    float *query = ct_alloc(context, (size_t)c->width * sizeof(float), CT_MEMORY_WORKSPACE);
    ct_neighbour *found = ct_alloc(context, (size_t)most * sizeof(*found) + 1, CT_MEMORY_WORKSPACE);
    if (query && found && ct_embed_texts(embedder, &text, 1, query) == CT_OK) {
        int64_t count = ct_nearest_vectors(context, c->vectors, c->count, c->width, query, most, found);
        if (count >= 0) print_found(cli, c, found, count, report);
    }
    ct_free(context, query);
    ct_free(context, found);
    return ct_context_status(context);
}

static void report_speed(ct_cli *cli, const collection *c, int64_t tokens, double seconds, ct_value *report) {
    if (!report) {
        ct_cli_say(cli, "%lld texts, %lld tokens, width %lld: %.2f s, %.0f texts/s", (long long)c->count,
                   (long long)tokens, (long long)c->width, seconds, (double)c->count / seconds);
        return;
    }
    ct_cli_put_int(report, "texts", c->count, cli->context);
    ct_cli_put_int(report, "tokens", tokens, cli->context);
    ct_cli_put_int(report, "width", c->width, cli->context);
    ct_cli_put_real(report, "seconds", seconds, cli->context);
    ct_cli_put_real(report, "texts_per_second", (double)c->count / seconds, cli->context);
}

static ct_status work(ct_cli *cli, ct_embedder *embedder, const embed_flags *flags, const char *field,
                      ct_value *report) {
    ct_context *context = cli->context;
    collection c = {0};
    if (flags->vectors) {
        read_npz(context, flags->vectors, ct_embedder_width(embedder), &c);
    } else if (ct_texts_read(context, flags->text, field, &c.texts) == CT_OK) {
        double start = ct_seconds();
        if (embed_texts(context, embedder, &c) == CT_OK)
            report_speed(cli, &c, ct_embedder_tokens(embedder), ct_seconds() - start, report);
        if (flags->out && !ct_failed(context)) write_npz(context, flags->out, &c);
    }
    if (flags->query && !ct_failed(context)) search(cli, embedder, flags, &c, report);
    ct_texts_free(context, &c.texts);
    ct_free(context, c.vectors);
    return ct_context_status(context);
}

void ct_cli_embed(ct_cli *cli, const char *model, const char *tokenizer, const char *field, bool bf16) {
    ct_context *context = cli->context;
    embed_flags flags;
    ct_embed_options options;
    if (ct_cli_options(cli, ct_cli_embed_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_embed_table, &options) != CT_OK)
        return;
    if (!flags.text == !flags.vectors) {
        ct_fail(context, CT_ERROR_ARGUMENT, "embed: expected one of --text FILE and --vectors FILE.npz");
        return;
    }
    if (flags.vectors && flags.out) {
        ct_fail(context, CT_ERROR_ARGUMENT,
                "embed: --out writes the vectors of --text, not those of --vectors");
        return;
    }
    if (!flags.query && !flags.out) {
        ct_fail(context, CT_ERROR_ARGUMENT, "embed: expected --out FILE.npz, --query TEXT or both");
        return;
    }
    ct_embedder *embedder = ct_embedder_open(context, model, tokenizer, &options, bf16);
    ct_value *report = embedder && cli->json ? ct_value_map(context) : NULL;
    if (embedder) work(cli, embedder, &flags, field, report);
    ct_embedder_close(embedder);
    if (report && !ct_failed(context))
        ct_cli_print_json(cli, report);
    else
        ct_value_free(report);
}
