/* plot_png.c - a plot as PNG, drawn by cairo at two pixels a point. */
#include "train/plot_internal.h"

#if CARAT_HAVE_CAIRO

#include <cairo.h>

typedef struct png_canvas {
    ct_plot_canvas canvas;
    cairo_t *cairo;
} png_canvas;

static cairo_t *cairo_of(ct_plot_canvas *canvas) {
    return ((png_canvas *)canvas)->cairo;
}

static void set_color(cairo_t *cairo, uint32_t color, double opacity) {
    cairo_set_source_rgba(cairo, (color >> 16 & 255) / 255.0, (color >> 8 & 255) / 255.0,
                          (color & 255) / 255.0, opacity);
}

static void png_rectangle(ct_plot_canvas *canvas, double x, double y, double width, double height,
                          uint32_t fill) {
    cairo_t *cairo = cairo_of(canvas);
    set_color(cairo, fill, 1);
    cairo_rectangle(cairo, x, y, width, height);
    cairo_fill(cairo);
}

static void png_line(ct_plot_canvas *canvas, const ct_plot_point *points, size_t count,
                     ct_plot_stroke stroke) {
    cairo_t *cairo = cairo_of(canvas);
    set_color(cairo, stroke.color, stroke.opacity);
    cairo_set_line_width(cairo, stroke.width);
    cairo_new_path(cairo); /* text leaves a current point */
    for (size_t i = 0; i < count; i++)
        cairo_line_to(cairo, points[i].x, points[i].y);
    cairo_stroke(cairo);
}

static void png_dot(ct_plot_canvas *canvas, ct_plot_point center, double radius, uint32_t fill) {
    cairo_t *cairo = cairo_of(canvas);
    set_color(cairo, fill, 1);
    cairo_new_path(cairo);
    cairo_arc(cairo, center.x, center.y, radius, 0, 6.283185307179586);
    cairo_fill(cairo);
}

static void png_text(ct_plot_canvas *canvas, const ct_plot_text *text) {
    cairo_t *cairo = cairo_of(canvas);
    cairo_text_extents_t extents;
    cairo_save(cairo);
    cairo_select_font_face(cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           text->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cairo, text->size);
    cairo_text_extents(cairo, text->text, &extents);
    set_color(cairo, text->color, 1);
    cairo_translate(cairo, text->x, text->y);
    if (text->up) cairo_rotate(cairo, -1.5707963267948966);
    cairo_move_to(cairo, -extents.x_advance * text->anchor / 2, 0);
    cairo_show_text(cairo, text->text);
    cairo_restore(cairo);
}

static void png_clip(ct_plot_canvas *canvas, double x, double y, double width, double height) {
    cairo_save(cairo_of(canvas));
    cairo_rectangle(cairo_of(canvas), x, y, width, height);
    cairo_clip(cairo_of(canvas));
}

static void png_unclip(ct_plot_canvas *canvas) {
    cairo_restore(cairo_of(canvas));
}

static cairo_status_t write_bytes(void *writer, const unsigned char *data, unsigned int length) {
    return ct_writer_write(writer, data, length) == CT_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

ct_status ct_plot_write_png(ct_context *context, const char *path, int width, int height, ct_plot_draw draw,
                            const void *user) {
    ct_writer *writer = ct_writer_open(context, path);
    if (!writer) return ct_context_status(context);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 2 * width, 2 * height);
    png_canvas png = {{png_rectangle, png_line, png_dot, png_text, png_clip, png_unclip},
                      cairo_create(surface)};
    cairo_scale(png.cairo, 2, 2);
    cairo_set_line_join(png.cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(png.cairo, CAIRO_LINE_CAP_ROUND);
    draw(user, &png.canvas);
    cairo_status_t status = cairo_status(png.cairo); /* cairo keeps the first error, as a context does */
    cairo_destroy(png.cairo);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_write_to_png_stream(surface, write_bytes, writer);
    cairo_surface_destroy(surface);
    if (status == CAIRO_STATUS_SUCCESS) return ct_writer_commit(writer);
    ct_writer_abandon(writer);
    if (ct_failed(context)) return ct_context_status(context); /* what the writer said */
    return ct_fail(context, status == CAIRO_STATUS_NO_MEMORY ? CT_ERROR_MEMORY : CT_ERROR_IO,
                   "%s: the plot could not be drawn: %s", path, cairo_status_to_string(status));
}

bool ct_plot_has_png(void) {
    return true;
}

#else

ct_status ct_plot_write_png(ct_context *context, const char *path, int width, int height, ct_plot_draw draw,
                            const void *user) {
    (void)width, (void)height, (void)draw, (void)user;
    return ct_fail(context, CT_ERROR_UNSUPPORTED,
                   "%s: this build has no cairo and cannot draw PNG; expected a name that ends in .svg",
                   path);
}

bool ct_plot_has_png(void) {
    return false;
}

#endif
