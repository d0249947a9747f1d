/* plot_svg.c - a plot as SVG 1.1. Numbers are written with integers, so that the locale does not matter. */
#include "train/plot_internal.h"
#include <math.h>
#include <stdlib.h>

typedef struct svg_canvas {
    ct_plot_canvas canvas;
    ct_writer *writer;
    int clips;
} svg_canvas;

static ct_writer *writer_of(ct_plot_canvas *canvas) {
    return ((svg_canvas *)canvas)->writer;
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

static void attribute(ct_writer *writer, const char *name, double value) {
    char text[32];
    ct_writer_printf(writer, " %s=\"%s\"", name, number(text, value));
}

static void escaped(ct_writer *writer, const char *text) {
    for (; *text; text++) {
        if (*text == '&')
            ct_writer_printf(writer, "&amp;");
        else if (*text == '<')
            ct_writer_printf(writer, "&lt;");
        else if (*text == '>')
            ct_writer_printf(writer, "&gt;");
        else
            ct_writer_write(writer, text, 1);
    }
}

static void svg_rectangle(ct_plot_canvas *canvas, double x, double y, double width, double height,
                          uint32_t fill) {
    ct_writer *writer = writer_of(canvas);
    ct_writer_printf(writer, "<rect");
    attribute(writer, "x", x);
    attribute(writer, "y", y);
    attribute(writer, "width", width);
    attribute(writer, "height", height);
    ct_writer_printf(writer, " fill=\"#%06x\"/>\n", (unsigned)fill);
}

static void svg_line(ct_plot_canvas *canvas, const ct_plot_point *points, size_t count,
                     ct_plot_stroke stroke) {
    ct_writer *writer = writer_of(canvas);
    ct_writer_printf(writer, "<polyline fill=\"none\" stroke=\"#%06x\"", (unsigned)stroke.color);
    attribute(writer, "stroke-width", stroke.width);
    if (stroke.opacity < 1) attribute(writer, "stroke-opacity", stroke.opacity);
    ct_writer_printf(writer, " points=\"");
    for (size_t i = 0; i < count; i++) {
        char x[32], y[32];
        ct_writer_printf(writer, "%s%s,%s", i > 0 ? " " : "", number(x, points[i].x), number(y, points[i].y));
    }
    ct_writer_printf(writer, "\"/>\n");
}

static void svg_dot(ct_plot_canvas *canvas, ct_plot_point center, double radius, uint32_t fill) {
    ct_writer *writer = writer_of(canvas);
    ct_writer_printf(writer, "<circle");
    attribute(writer, "cx", center.x);
    attribute(writer, "cy", center.y);
    attribute(writer, "r", radius);
    ct_writer_printf(writer, " fill=\"#%06x\"/>\n", (unsigned)fill);
}

static void svg_text(ct_plot_canvas *canvas, const ct_plot_text *text) {
    static const char *const anchors[] = {"start", "middle", "end"};
    ct_writer *writer = writer_of(canvas);
    ct_writer_printf(writer, "<text");
    if (text->up) {
        char x[32], y[32];
        ct_writer_printf(writer, " transform=\"translate(%s,%s) rotate(-90)\"", number(x, text->x),
                         number(y, text->y));
    } else {
        attribute(writer, "x", text->x);
        attribute(writer, "y", text->y);
    }
    attribute(writer, "font-size", text->size);
    ct_writer_printf(writer, " fill=\"#%06x\" text-anchor=\"%s\"%s>", (unsigned)text->color,
                     anchors[text->anchor], text->bold ? " font-weight=\"bold\"" : "");
    escaped(writer, text->text);
    ct_writer_printf(writer, "</text>\n");
}

static void svg_clip(ct_plot_canvas *canvas, double x, double y, double width, double height) {
    ct_writer *writer = writer_of(canvas);
    int clip = ++((svg_canvas *)canvas)->clips;
    ct_writer_printf(writer, "<clipPath id=\"clip%d\"><rect", clip);
    attribute(writer, "x", x);
    attribute(writer, "y", y);
    attribute(writer, "width", width);
    attribute(writer, "height", height);
    ct_writer_printf(writer, "/></clipPath>\n<g clip-path=\"url(#clip%d)\">\n", clip);
}

static void svg_unclip(ct_plot_canvas *canvas) {
    ct_writer_printf(writer_of(canvas), "</g>\n");
}

ct_status ct_plot_write_svg(ct_context *context, const char *path, int width, int height, const char *title,
                            ct_plot_draw draw, const void *user) {
    svg_canvas svg = {{svg_rectangle, svg_line, svg_dot, svg_text, svg_clip, svg_unclip}, NULL, 0};
    svg.writer = ct_writer_open(context, path);
    if (!svg.writer) return ct_context_status(context);
    ct_writer_printf(svg.writer,
                     "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" height=\"%d\" "
                     "viewBox=\"0 0 %d %d\" font-family=\"DejaVu Sans, Verdana, Helvetica, sans-serif\" "
                     "stroke-linejoin=\"round\" stroke-linecap=\"round\">\n",
                     width, height, width, height);
    if (title) {
        ct_writer_printf(svg.writer, "<title>");
        escaped(svg.writer, title);
        ct_writer_printf(svg.writer, "</title>\n");
    }
    draw(user, &svg.canvas);
    ct_writer_printf(svg.writer, "</svg>\n");
    return ct_writer_commit(svg.writer);
}
