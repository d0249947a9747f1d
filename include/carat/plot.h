/* plot.h - line charts, for loss curves and the other pictures that the verbs write with `--plot out.svg`.
 *
 * A plot is a title, two axes and some series, drawn in the order they were added, each in its own colour and
 * named in a legend. The file's ending chooses the form: .svg always works, .png needs cairo (see
 * ct_plot_has_png). */
#ifndef CARAT_PLOT_H
#define CARAT_PLOT_H

#include <carat/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_plot ct_plot;

typedef enum ct_plot_axis { CT_PLOT_X, CT_PLOT_Y } ct_plot_axis;

/* NULL on failure. Belongs to the context; free with ct_plot_destroy. */
ct_plot *ct_plot_create(ct_context *context);
/* NULL is allowed. */
void ct_plot_destroy(ct_plot *plot);

/* Size in points (a PNG has twice as many pixels each way); 200 to 4000. 800 x 480 at the start. */
ct_status ct_plot_size(ct_plot *plot, int width, int height);
ct_status ct_plot_title(ct_plot *plot, const char *title);
/* A label (NULL: none) and whether the axis is logarithmic. On a logarithmic axis values must be positive: x
 * that are not give an error when the plot is written, y that are not break the line. */
ct_status ct_plot_label(ct_plot *plot, ct_plot_axis axis, const char *label, bool logarithmic);
/* Shows the axis from `low` to `high` (finite, low < high); what lies outside is clipped. Without it, the
 * axis shows all values. */
ct_status ct_plot_range(ct_plot *plot, ct_plot_axis axis, double low, double high);

/* Adds a line through `count` >= 1 points, copied. Every x must be finite and not below the one before; a y
 * that is NaN or infinite breaks the line. Series of few points show them as dots. `name` stands in the
 * legend; NULL: no entry. At most CT_PLOT_SERIES series. */
#define CT_PLOT_SERIES 64
ct_status ct_plot_series(ct_plot *plot, const char *name, const double *x, const double *y, size_t count);
/* The same as a faint thin line, behind the others: the raw values of which a series is the moving average.
 * It takes the colour that the next series will have, and no entry in the legend. */
ct_status ct_plot_shadow(ct_plot *plot, const double *x, const double *y, size_t count);

/* Writes the plot, replacing `path` atomically. An error if there is no point to show, if the ending is
 * neither .svg nor .png, or if .png is asked for without cairo. The plot can be added to and written again.
 */
ct_status ct_plot_write(const ct_plot *plot, const char *path);
/* The plot as an <svg> element to be put into a page; its identifiers begin with `prefix`, which is to differ from
 * plot to plot of one page. A new string; NULL on error, as above. */
char *ct_plot_svg(const ct_plot *plot, const char *prefix);
/* Whether this build writes PNG. */
bool ct_plot_has_png(void);

#ifdef __cplusplus
}
#endif
#endif
