/* plot_svg.c - a plot as SVG 1.1. Numbers are written with integers, so that the locale does not matter. */
#include "train/plot_internal.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct svg_canvas {
    ct_plot_canvas canvas;
    ct_text *text;
    const char *prefix; /* of identifiers: several plots may stand in one document */
    int clips;
} svg_canvas;

static ct_text *text_of(ct_plot_canvas *canvas) {
    return ((svg_canvas *)canvas)->text;
}

/* "12.5" into buffer: two decimals at most. */
static const char *number(char buffer[32], double value) {
    double limited = fmin(fmax(value, -1e6), 1e6);
    long hundredths = lround(limited * 100);
    long whole = labs(hundredths) / 100, part = labs(hundredths) % 100;
    const char *sign = hundredths < 0 ? "-" : "";
    if (part == 0)
        snprintf(buffer, 32, "%s%ld", sign, whole);
    else if (part % 10 == 0)
        snprintf(buffer, 32, "%s%ld.%ld", sign, whole, part / 10);
    else
        snprintf(buffer, 32, "%s%ld.%02ld", sign, whole, part);
    return buffer;
}

static void attribute(ct_text *out, const char *name, double value) {
    char text[32];
    ct_text_printf(out, " %s=\"%s\"", name, number(text, value));
}

static void escaped(ct_text *out, const char *words) {
    for (; *words; words++) {
        if (*words == '&')
            ct_text_printf(out, "&amp;");
        else if (*words == '<')
            ct_text_printf(out, "&lt;");
        else if (*words == '>')
            ct_text_printf(out, "&gt;");
        else
            ct_text_append(out, words, 1);
    }
}

static void svg_rectangle(ct_plot_canvas *canvas, double x, double y, double width, double height,
                          uint32_t fill) {
    ct_text *out = text_of(canvas);
    ct_text_printf(out, "<rect");
    attribute(out, "x", x);
    attribute(out, "y", y);
    attribute(out, "width", width);
    attribute(out, "height", height);
    ct_text_printf(out, " fill=\"#%06x\"/>\n", (unsigned)fill);
}

static void svg_line(ct_plot_canvas *canvas, const ct_plot_point *points, size_t count,
                     ct_plot_stroke stroke) {
    ct_text *out = text_of(canvas);
    ct_text_printf(out, "<polyline fill=\"none\" stroke=\"#%06x\"", (unsigned)stroke.color);
    attribute(out, "stroke-width", stroke.width);
    if (stroke.opacity < 1) attribute(out, "stroke-opacity", stroke.opacity);
    ct_text_printf(out, " points=\"");
    for (size_t i = 0; i < count; i++) {
        char x[32], y[32];
        ct_text_printf(out, "%s%s,%s", i > 0 ? " " : "", number(x, points[i].x), number(y, points[i].y));
    }
    ct_text_printf(out, "\"/>\n");
}

static void svg_dot(ct_plot_canvas *canvas, ct_plot_point center, double radius, uint32_t fill) {
    ct_text *out = text_of(canvas);
    ct_text_printf(out, "<circle");
    attribute(out, "cx", center.x);
    attribute(out, "cy", center.y);
    attribute(out, "r", radius);
    ct_text_printf(out, " fill=\"#%06x\"/>\n", (unsigned)fill);
}

static void svg_text(ct_plot_canvas *canvas, const ct_plot_text *text) {
    static const char *const anchors[] = {"start", "middle", "end"};
    ct_text *out = text_of(canvas);
    ct_text_printf(out, "<text");
    if (text->up) {
        char x[32], y[32];
        ct_text_printf(out, " transform=\"translate(%s,%s) rotate(-90)\"", number(x, text->x),
                       number(y, text->y));
    } else {
        attribute(out, "x", text->x);
        attribute(out, "y", text->y);
    }
    attribute(out, "font-size", text->size);
    ct_text_printf(out, " fill=\"#%06x\" text-anchor=\"%s\"%s>", (unsigned)text->color, anchors[text->anchor],
                   text->bold ? " font-weight=\"bold\"" : "");
    escaped(out, text->text);
    ct_text_printf(out, "</text>\n");
}

static void svg_clip(ct_plot_canvas *canvas, double x, double y, double width, double height) {
    ct_text *out = text_of(canvas);
    const char *prefix = ((svg_canvas *)canvas)->prefix;
    int clip = ++((svg_canvas *)canvas)->clips;
    ct_text_printf(out, "<clipPath id=\"%sclip%d\"><rect", prefix, clip);
    attribute(out, "x", x);
    attribute(out, "y", y);
    attribute(out, "width", width);
    attribute(out, "height", height);
    ct_text_printf(out, "/></clipPath>\n<g clip-path=\"url(#%sclip%d)\">\n", prefix, clip);
}

static void svg_unclip(ct_plot_canvas *canvas) {
    ct_text_printf(text_of(canvas), "</g>\n");
}

char *ct_plot_svg_text(ct_context *context, const char *prefix, int width, int height, const char *title,
                       ct_plot_draw draw, const void *user) {
    ct_text text = ct_text_start(context);
    svg_canvas svg = {{svg_rectangle, svg_line, svg_dot, svg_text, svg_clip, svg_unclip}, &text, prefix, 0};
    ct_text_printf(&text,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" height=\"%d\" "
                   "viewBox=\"0 0 %d %d\" font-family=\"DejaVu Sans, Verdana, Helvetica, sans-serif\" "
                   "stroke-linejoin=\"round\" stroke-linecap=\"round\">\n",
                   width, height, width, height);
    if (title) {
        ct_text_printf(&text, "<title>");
        escaped(&text, title);
        ct_text_printf(&text, "</title>\n");
    }
    draw(user, &svg.canvas);
    ct_text_printf(&text, "</svg>\n");
    return ct_text_take(&text);
}

ct_status ct_plot_write_svg(ct_context *context, const char *path, int width, int height, const char *title,
                            ct_plot_draw draw, const void *user) {
    char *text = ct_plot_svg_text(context, "", width, height, title, draw, user);
    ct_writer *writer = text ? ct_writer_open(context, path) : NULL;
    if (writer) {
        ct_writer_printf(writer, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        ct_writer_write(writer, text, strlen(text));
    }
    ct_free(context, text);
    return writer ? ct_writer_commit(writer) : ct_context_status(context);
}
