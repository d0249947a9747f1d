/* plot_internal.h - between the layout of a plot (plot.c), the ticks of its axes (plot_ticks.c) and the two
 * kinds of file it is drawn into (plot_svg.c, plot_png.c). Coordinates are points from the upper left corner.
 */
#ifndef CARAT_TRAIN_PLOT_INTERNAL_H
#define CARAT_TRAIN_PLOT_INTERNAL_H

#include <carat/plot.h>

/* ------------------------------------------------------------------------------------------------- canvas */

typedef struct ct_plot_point {
    double x, y;
} ct_plot_point;

typedef struct ct_plot_stroke {
    uint32_t color; /* 0xRRGGBB */
    double width, opacity;
} ct_plot_stroke;

typedef struct ct_plot_text {
    double x, y; /* of the baseline at `anchor` */
    double size;
    uint32_t color;
    int anchor;    /* 0: x is the left end, 1: the middle, 2: the right end */
    bool bold, up; /* up: written from below to above */
    const char *text;
} ct_plot_text;

typedef struct ct_plot_canvas ct_plot_canvas;
struct ct_plot_canvas {
    void (*rectangle)(ct_plot_canvas *canvas, double x, double y, double width, double height, uint32_t fill);
    void (*line)(ct_plot_canvas *canvas, const ct_plot_point *points, size_t count, ct_plot_stroke stroke);
    void (*dot)(ct_plot_canvas *canvas, ct_plot_point center, double radius, uint32_t fill);
    void (*text)(ct_plot_canvas *canvas, const ct_plot_text *text);
    /* What is drawn between them shows only inside the rectangle. */
    void (*clip)(ct_plot_canvas *canvas, double x, double y, double width, double height);
    void (*unclip)(ct_plot_canvas *canvas);
};

typedef void (*ct_plot_draw)(const void *user, ct_plot_canvas *canvas);
/* The <svg> element alone, with identifiers that begin with `prefix`. A new string. */
char *ct_plot_svg_text(ct_context *context, const char *prefix, int width, int height, const char *title,
                       ct_plot_draw draw, const void *user);
/* Both call draw(user, canvas) once before they replace the file. */
ct_status ct_plot_write_svg(ct_context *context, const char *path, int width, int height, const char *title,
                            ct_plot_draw draw, const void *user);
ct_status ct_plot_write_png(ct_context *context, const char *path, int width, int height, ct_plot_draw draw,
                            const void *user);

/* --------------------------------------------------------------------------------------------------- axes */

/* An axis from `low` to `high`; where logarithmic, both are positive. */
typedef struct ct_plot_scale {
    double low, high;
    bool logarithmic;
} ct_plot_scale;

#define CT_PLOT_TICKS 32
typedef struct ct_plot_tick {
    double value;
    char label[24]; /* "" for a tick without one */
} ct_plot_tick;

/* Widens a range of one value so that it can be drawn, and a range of data by `margin` of its length each
 * side. */
void ct_plot_scale_widen(ct_plot_scale *scale, double margin);
/* Where on the axis a value lies: 0 at the low end, 1 at the high one. */
double ct_plot_scale_at(const ct_plot_scale *scale, double value);
/* At most CT_PLOT_TICKS ticks, about `wanted` (>= 2): multiples of 1, 2 or 5 times a power of ten, on a
 * logarithmic axis of a decade or more these numbers themselves. Returns how many. */
int ct_plot_ticks(const ct_plot_scale *scale, int wanted, ct_plot_tick ticks[CT_PLOT_TICKS]);

#endif
