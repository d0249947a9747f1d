/* plot.c - what a plot holds, and how it is laid out: title and legend above, axes with ticks and a thin
 * grid. */
#include "format/utf8.h"
#include "train/plot_internal.h"
#include <math.h>
#include <string.h>

#define TITLE_SIZE 15.0
#define LABEL_SIZE 12.0
#define TICK_SIZE 11.0
#define LEGEND_ROW 19.0
#define PAPER 0xffffffu
#define GRID 0xe6e8ebu
#define FRAME 0x9aa1aau
#define INK 0x24292fu
#define FAINT_INK 0x57606au
#define DOTTED_COUNT 40 /* series of up to so many points show each as a dot */
#define SMALLEST 1e-290 /* sizes outside are treated as 0 and infinity, so that ranges neither vanish */
#define LARGEST 1e290   /* nor overflow */

static const uint32_t colors[] = {0x2563eb, 0xe4572e, 0x159a80, 0x8b5cd6,
                                  0xd99a00, 0xc2417f, 0x4f6d7a, 0x7a5c3e};
#define COLORS (sizeof colors / sizeof colors[0])

typedef struct plot_series {
    char *name;
    double *x, *y;
    size_t count;
    uint32_t color;
    bool shadow;
} plot_series;

typedef struct plot_axis {
    char *label;
    bool logarithmic, fixed;
    double low, high; /* where fixed */
} plot_axis;

struct ct_plot {
    ct_context *context;
    int width, height;
    char *title;
    plot_axis axes[2];
    plot_series series[CT_PLOT_SERIES];
    int count, colored;
};

/* ------------------------------------------------------------------------------------------------ content */

ct_plot *ct_plot_create(ct_context *context) {
    ct_plot *plot = ct_alloc_zero(context, sizeof *plot, CT_MEMORY_OTHER);
    if (!plot) return NULL;
    plot->context = context;
    plot->width = 800;
    plot->height = 480;
    return plot;
}

void ct_plot_destroy(ct_plot *plot) {
    if (!plot) return;
    ct_context *context = plot->context;
    for (int i = 0; i < plot->count; i++) {
        ct_free(context, plot->series[i].name);
        ct_free(context, plot->series[i].x);
    }
    ct_free(context, plot->title);
    for (int i = 0; i < 2; i++)
        ct_free(context, plot->axes[i].label);
    ct_free(context, plot);
}

/* A copy in which what is no UTF-8, or may not stand in XML, is U+FFFD; line ends become spaces. */
static char *clean_copy(ct_context *context, const char *text) {
    size_t length = strlen(text), used = 0;
    char *copy = ct_alloc(context, 3 * length + 1, CT_MEMORY_OTHER);
    if (!copy) return NULL;
    for (size_t i = 0; i < length;) {
        uint32_t code = 0;
        size_t size = ct_utf8_decode(text + i, length - i, &code);
        if (size == 0 || (code & 0xfffe) == 0xfffe)
            code = 0xfffd;
        else if (code < 0x20 || code == 0x7f)
            code = ' ';
        used += ct_utf8_encode(code, copy + used);
        i += size > 0 ? size : 1;
    }
    copy[used] = '\0';
    return copy;
}

/* Puts a clean copy of `text` (NULL: none) in place of *old. */
static ct_status replace_text(ct_context *context, char **old, const char *text) {
    char *copy = text ? clean_copy(context, text) : NULL;
    if (text && !copy) return ct_context_status(context);
    ct_free(context, *old);
    *old = copy;
    return CT_OK;
}

ct_status ct_plot_size(ct_plot *plot, int width, int height) {
    if (width < 200 || width > 4000 || height < 200 || height > 4000)
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "plot of %d x %d points, expected 200 to 4000 each way", width, height);
    plot->width = width;
    plot->height = height;
    return CT_OK;
}

ct_status ct_plot_title(ct_plot *plot, const char *title) {
    return replace_text(plot->context, &plot->title, title);
}

ct_status ct_plot_label(ct_plot *plot, ct_plot_axis axis, const char *label, bool logarithmic) {
    plot->axes[axis].logarithmic = logarithmic;
    return replace_text(plot->context, &plot->axes[axis].label, label);
}

ct_status ct_plot_range(ct_plot *plot, ct_plot_axis axis, double low, double high) {
    if (!(fabs(low) < LARGEST && fabs(high) < LARGEST && low < high))
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "plot: %s axis from %g to %g, expected low < high, finite",
                       axis == CT_PLOT_X ? "x" : "y", low, high);
    plot->axes[axis].fixed = true;
    plot->axes[axis].low = low;
    plot->axes[axis].high = high;
    return CT_OK;
}

static ct_status check_series(ct_plot *plot, const char *name, const double *x, size_t count) {
    const char *shown = name ? name : "(without name)";
    if (plot->count == CT_PLOT_SERIES)
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "plot: series \"%s\" is one too many, expected at most %d", shown, CT_PLOT_SERIES);
    if (count == 0)
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "plot: series \"%s\" is empty, expected at least one point", shown);
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(x[i]) < LARGEST))
            return ct_fail(plot->context, CT_ERROR_NUMERIC,
                           "plot: series \"%s\": x[%zu] is %g, expected a finite number", shown, i, x[i]);
        if (i > 0 && x[i] < x[i - 1])
            return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                           "plot: series \"%s\": x[%zu] is %g, below the %g before it; expected rising x",
                           shown, i, x[i], x[i - 1]);
    }
    return CT_OK;
}

static ct_status add_series(ct_plot *plot, const char *name, const double *x, const double *y, size_t count,
                            bool shadow) {
    ct_context *context = plot->context;
    ct_status status = check_series(plot, name, x, count);
    if (status) return status;
    plot_series series = {.count = count, .shadow = shadow, .color = colors[(size_t)plot->colored % COLORS]};
    status = replace_text(context, &series.name, name);
    if (status) return status;
    series.x = ct_alloc(context, 2 * count * sizeof(double), CT_MEMORY_OTHER);
    if (!series.x) {
        ct_free(context, series.name);
        return ct_context_status(context);
    }
    series.y = series.x + count;
    memcpy(series.x, x, count * sizeof(double));
    memcpy(series.y, y, count * sizeof(double));
    plot->series[plot->count++] = series;
    if (!shadow) plot->colored++;
    return CT_OK;
}

ct_status ct_plot_series(ct_plot *plot, const char *name, const double *x, const double *y, size_t count) {
    return add_series(plot, name, x, y, count, false);
}

ct_status ct_plot_shadow(ct_plot *plot, const double *x, const double *y, size_t count) {
    return add_series(plot, NULL, x, y, count, true);
}

/* ------------------------------------------------------------------------------------------------- layout */

typedef struct plot_layout {
    const ct_plot *plot;
    ct_plot_scale scales[2];
    ct_plot_tick ticks[2][CT_PLOT_TICKS];
    int tick_counts[2];
    double left, top, width, height; /* of the area with the lines */
    ct_plot_point *points;           /* room for the points of the longest series */
} plot_layout;

static bool drawable(const ct_plot *plot, double y) {
    return fabs(y) < LARGEST && (!plot->axes[CT_PLOT_Y].logarithmic || y > SMALLEST);
}

/* The range of the data, or the one that was asked for. */
static ct_status find_range(const ct_plot *plot, ct_plot_axis which, const char *path, ct_plot_scale *scale) {
    const plot_axis *axis = &plot->axes[which];
    double low = INFINITY, high = -INFINITY;
    for (int s = 0; s < plot->count; s++) {
        const plot_series *series = &plot->series[s];
        for (size_t i = 0; i < series->count; i++) {
            if (!drawable(plot, series->y[i])) continue;
            double value = which == CT_PLOT_X ? series->x[i] : series->y[i];
            low = fmin(low, value);
            high = fmax(high, value);
        }
    }
    if (low > high)
        return ct_fail(plot->context, CT_ERROR_ARGUMENT, "%s: the plot has no point to show%s", path,
                       plot->count ? ": every y is NaN, infinite or not positive on a logarithmic axis" : "");
    *scale = (ct_plot_scale){low, high, axis->logarithmic};
    if (axis->fixed) *scale = (ct_plot_scale){axis->low, axis->high, axis->logarithmic};
    if (axis->logarithmic && !(scale->low > SMALLEST))
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "%s: the logarithmic %s axis reaches %g, expected more than 0", path,
                       which == CT_PLOT_X ? "x" : "y", scale->low);
    if (!axis->fixed) ct_plot_scale_widen(scale, which == CT_PLOT_X ? 0.0 : 0.05);
    return CT_OK;
}

/* Good enough to leave room; where text must end exactly, the canvas aligns it. */
static double text_width(const char *text, double size) {
    size_t characters = 0;
    for (; *text; text++)
        characters += (*text & 0xc0) != 0x80;
    return (double)characters * 0.62 * size;
}

static double legend_entry_width(const plot_series *series) {
    return 30 + text_width(series->name, LABEL_SIZE) + 16;
}

/* draw_texts sets the entries in as many rows. */
static int legend_rows(const ct_plot *plot, double width) {
    int rows = 0;
    double used = 0;
    for (int s = 0; s < plot->count; s++) {
        if (!plot->series[s].name) continue;
        double entry = legend_entry_width(&plot->series[s]);
        if (rows == 0 || used + entry > width) rows++, used = 0;
        used += entry;
    }
    return rows;
}

static ct_status make_layout(const ct_plot *plot, const char *path, plot_layout *layout) {
    layout->plot = plot;
    for (int axis = 0; axis < 2; axis++) {
        ct_status status = find_range(plot, (ct_plot_axis)axis, path, &layout->scales[axis]);
        if (status) return status;
    }
    layout->tick_counts[CT_PLOT_Y] =
        ct_plot_ticks(&layout->scales[CT_PLOT_Y], plot->height / 65, layout->ticks[CT_PLOT_Y]);
    layout->tick_counts[CT_PLOT_X] =
        ct_plot_ticks(&layout->scales[CT_PLOT_X], plot->width / 100, layout->ticks[CT_PLOT_X]);
    double widest = 0;
    for (int i = 0; i < layout->tick_counts[CT_PLOT_Y]; i++)
        widest = fmax(widest, text_width(layout->ticks[CT_PLOT_Y][i].label, TICK_SIZE));
    layout->left = 18 + widest + (plot->axes[CT_PLOT_Y].label ? 22 : 0);
    layout->width = plot->width - layout->left - 24;
    layout->top = 16 + (plot->title ? 26 : 0);
    int rows = legend_rows(plot, layout->width);
    if (rows > 0) layout->top += rows * LEGEND_ROW + 8;
    layout->height = plot->height - layout->top - 32 - (plot->axes[CT_PLOT_X].label ? 22 : 0);
    if (layout->width < 60 || layout->height < 60)
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "%s: a plot of %d x %d points has no room for its labels and legend; make it larger",
                       path, plot->width, plot->height);
    size_t longest = 1;
    for (int s = 0; s < plot->count; s++)
        if (plot->series[s].count > longest) longest = plot->series[s].count;
    layout->points = ct_alloc(plot->context, longest * sizeof *layout->points, CT_MEMORY_OTHER);
    return layout->points ? CT_OK : ct_context_status(plot->context);
}

/* ------------------------------------------------------------------------------------------------ drawing */

static double place_x(const plot_layout *layout, double x) {
    return layout->left + layout->width * ct_plot_scale_at(&layout->scales[CT_PLOT_X], x);
}

static double place_y(const plot_layout *layout, double y) {
    return layout->top + layout->height * (1 - ct_plot_scale_at(&layout->scales[CT_PLOT_Y], y));
}

static void draw_segment(ct_plot_canvas *canvas, double x0, double y0, double x1, double y1, uint32_t color,
                         double width) {
    ct_plot_point ends[2] = {{x0, y0}, {x1, y1}};
    canvas->line(canvas, ends, 2, (ct_plot_stroke){color, width, 1});
}

static void draw_axes(const plot_layout *layout, ct_plot_canvas *canvas) {
    double right = layout->left + layout->width, bottom = layout->top + layout->height;
    for (int i = 0; i < layout->tick_counts[CT_PLOT_X]; i++) {
        const ct_plot_tick *tick = &layout->ticks[CT_PLOT_X][i];
        double x = place_x(layout, tick->value);
        draw_segment(canvas, x, layout->top, x, bottom, GRID, 1);
        draw_segment(canvas, x, bottom, x, bottom + 4, FRAME, 1);
        canvas->text(canvas,
                     &(ct_plot_text){x, bottom + 18, TICK_SIZE, FAINT_INK, 1, false, false, tick->label});
    }
    for (int i = 0; i < layout->tick_counts[CT_PLOT_Y]; i++) {
        const ct_plot_tick *tick = &layout->ticks[CT_PLOT_Y][i];
        double y = place_y(layout, tick->value);
        draw_segment(canvas, layout->left, y, right, y, GRID, 1);
        draw_segment(canvas, layout->left - 4, y, layout->left, y, FRAME, 1);
        canvas->text(canvas, &(ct_plot_text){layout->left - 8, y + 0.36 * TICK_SIZE, TICK_SIZE, FAINT_INK, 2,
                                             false, false, tick->label});
    }
    draw_segment(canvas, layout->left, layout->top, layout->left, bottom, FRAME, 1);
    draw_segment(canvas, layout->left, bottom, right, bottom, FRAME, 1);
}

static void draw_texts(const plot_layout *layout, ct_plot_canvas *canvas) {
    const ct_plot *plot = layout->plot;
    if (plot->title)
        canvas->text(canvas, &(ct_plot_text){layout->left, 29, TITLE_SIZE, INK, 0, true, false, plot->title});
    if (plot->axes[CT_PLOT_X].label)
        canvas->text(canvas, &(ct_plot_text){layout->left + layout->width / 2, plot->height - 12.0,
                                             LABEL_SIZE, INK, 1, false, false, plot->axes[CT_PLOT_X].label});
    if (plot->axes[CT_PLOT_Y].label)
        canvas->text(canvas, &(ct_plot_text){21, layout->top + layout->height / 2, LABEL_SIZE, INK, 1, false,
                                             true, plot->axes[CT_PLOT_Y].label});
    double x = 0, y = plot->title ? 52 : 26;
    for (int s = 0; s < plot->count; s++) {
        const plot_series *series = &plot->series[s];
        if (!series->name) continue;
        double entry = legend_entry_width(series);
        if (x > 0 && x + entry > layout->width) x = 0, y += LEGEND_ROW;
        ct_plot_point ends[2] = {{layout->left + x, y - 4}, {layout->left + x + 22, y - 4}};
        canvas->line(canvas, ends, 2, (ct_plot_stroke){series->color, 3, 1});
        canvas->text(canvas, &(ct_plot_text){layout->left + x + 30, y, LABEL_SIZE, INK, 0, false, false,
                                             series->name});
        x += entry;
    }
}

/* Of the points that fall into one column of half a point, the first, lowest, highest and last say all that
 * can be seen. Fills layout->points from points first to last - 1 of a series, which are drawable; returns
 * how many. */
static size_t thin_out(const plot_layout *layout, const plot_series *series, size_t first, size_t last) {
    size_t used = 0;
    bool all = last - first <= 4 * (size_t)layout->plot->width;
    for (size_t i = first; i < last;) {
        double column = floor(2 * place_x(layout, series->x[i]));
        size_t end = i + 1, low = i, high = i;
        for (; !all && end < last && floor(2 * place_x(layout, series->x[end])) <= column; end++) {
            if (series->y[end] < series->y[low]) low = end;
            if (series->y[end] > series->y[high]) high = end;
        }
        size_t keep[4] = {i, low < high ? low : high, low < high ? high : low, end - 1};
        for (int k = 0; k < 4; k++)
            if (k == 0 || keep[k] > keep[k - 1])
                layout->points[used++] =
                    (ct_plot_point){place_x(layout, series->x[keep[k]]), place_y(layout, series->y[keep[k]])};
        i = end;
    }
    return used;
}

static void draw_series(const plot_layout *layout, const plot_series *series, ct_plot_canvas *canvas) {
    ct_plot_stroke stroke = {series->color, series->shadow ? 1.0 : 2.0, series->shadow ? 0.3 : 1.0};
    for (size_t i = 0; i < series->count;) {
        size_t end = i;
        while (end < series->count && drawable(layout->plot, series->y[end]))
            end++;
        if (end == i) {
            i++;
            continue;
        }
        size_t count = thin_out(layout, series, i, end);
        if (count > 1) canvas->line(canvas, layout->points, count, stroke);
        if (count == 1 || (series->count <= DOTTED_COUNT && !series->shadow))
            for (size_t p = 0; p < count; p++)
                canvas->dot(canvas, layout->points[p], 2.8, series->color);
        i = end;
    }
}

static void draw_plot(const void *user, ct_plot_canvas *canvas) {
    const plot_layout *layout = user;
    const ct_plot *plot = layout->plot;
    canvas->rectangle(canvas, 0, 0, plot->width, plot->height, PAPER);
    draw_axes(layout, canvas);
    canvas->clip(canvas, layout->left - 3, layout->top - 3, layout->width + 6, layout->height + 6);
    for (int behind = 1; behind >= 0; behind--)
        for (int s = 0; s < plot->count; s++)
            if (plot->series[s].shadow == (bool)behind) draw_series(layout, &plot->series[s], canvas);
    canvas->unclip(canvas);
    draw_texts(layout, canvas);
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

ct_status ct_plot_write(const ct_plot *plot, const char *path) {
    bool svg = ends_with(path, ".svg"), png = ends_with(path, ".png");
    if (!svg && !png)
        return ct_fail(plot->context, CT_ERROR_ARGUMENT,
                       "%s: expected a name for the plot that ends in .svg or .png", path);
    plot_layout layout;
    ct_status status = make_layout(plot, path, &layout);
    if (status) return status;
    status = svg ? ct_plot_write_svg(plot->context, path, plot->width, plot->height, plot->title, draw_plot,
                                     &layout)
                 : ct_plot_write_png(plot->context, path, plot->width, plot->height, draw_plot, &layout);
    ct_free(plot->context, layout.points);
    return status;
}

char *ct_plot_svg(const ct_plot *plot, const char *prefix) {
    plot_layout layout;
    if (make_layout(plot, plot->title ? plot->title : "plot", &layout)) return NULL;
    char *text =
        ct_plot_svg_text(plot->context, prefix, plot->width, plot->height, plot->title, draw_plot, &layout);
    ct_free(plot->context, layout.points);
    return text;
}
