/* plot_ticks.c - the range of an axis and its ticks. Labels are made from whole numbers and powers of ten, so
 * that they are exact ("0.3", never "0.30000000000000004") and do not depend on the locale. */
#include "train/plot_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The value of a tick is number * 10^exponent. */
typedef struct decimal {
    int64_t number;
    int exponent;
} decimal;

static double decimal_value(decimal tick) {
    return tick.exponent < 0 ? (double)tick.number / pow(10, -tick.exponent)
                             : (double)tick.number * pow(10, tick.exponent);
}

void ct_plot_scale_widen(ct_plot_scale *scale, double margin) {
    if (scale->logarithmic) {
        double low = log10(scale->low), high = log10(scale->high);
        double by = high - low < 1e-9 ? 0.3 : margin * (high - low);
        scale->low = pow(10, fmax(low - by, -300));
        scale->high = pow(10, fmin(high + by, 300));
        return;
    }
    double length = scale->high - scale->low, size = fmax(fabs(scale->low), fabs(scale->high));
    double by = length <= 1e-9 * size ? 0.05 * size : margin * length;
    if (by < 1e-290) by = 1;
    scale->low -= by;
    scale->high += by;
}

double ct_plot_scale_at(const ct_plot_scale *scale, double value) {
    if (!scale->logarithmic) return (value - scale->low) / (scale->high - scale->low);
    double low = log10(scale->low);
    return (log10(value) - low) / (log10(scale->high) - low);
}

/* "-1.50" from -150 and two decimals. */
static void fixed_label(char label[24], int64_t number, int decimals, const char *suffix) {
    char digits[24];
    snprintf(digits, sizeof digits, "%0*lld", decimals + 1, llabs((long long)number));
    int whole = (int)strlen(digits) - decimals;
    snprintf(label, 24, "%s%.*s%s%.15s%s", number < 0 ? "-" : "", whole, digits, decimals > 0 ? "." : "",
             digits + whole, suffix);
}

static decimal without_zeros(decimal tick) {
    while (tick.number != 0 && tick.number % 10 == 0) {
        tick.number /= 10;
        tick.exponent++;
    }
    return tick;
}

/* "1.5e-7". */
static void scientific_label(char label[24], decimal tick) {
    char digits[24];
    tick = without_zeros(tick);
    snprintf(digits, sizeof digits, "%lld", llabs((long long)tick.number));
    int more = (int)strlen(digits) - 1;
    snprintf(label, 24, "%s%c%s%.8se%d", tick.number < 0 ? "-" : "", digits[0], more > 0 ? "." : "",
             digits + 1, tick.exponent + more);
}

/* `largest` is the size of the numbers on the axis, which all have one form: plain below 10 thousand, then
 * with k, M or G, and with a power of ten where these do not reach. */
static void tick_label(char label[24], decimal tick, double largest) {
    static const char *const suffixes[] = {"", "k", "M", "G"};
    int thousands = largest < 1e4 ? 0 : largest < 1e6 ? 1 : largest < 1e9 ? 2 : 3;
    if (tick.number == 0) {
        snprintf(label, 24, "0");
        return;
    }
    if (largest >= 1e13 || largest < 1e-3 || tick.exponent - 3 * thousands < -9) {
        scientific_label(label, tick);
        return;
    }
    tick.exponent -= 3 * thousands;
    for (; tick.exponent > 0; tick.exponent--)
        tick.number *= 10;
    fixed_label(label, tick.number, -tick.exponent, suffixes[thousands]);
}

/* The step nearest above length / wanted of the form 1, 2 or 5 times 10^exponent. */
static decimal tick_step(double length, int wanted) {
    double raw = length / wanted;
    int exponent = (int)floor(log10(raw));
    double mantissa = raw / pow(10, exponent);
    if (mantissa <= 1.0001) return (decimal){1, exponent};
    if (mantissa <= 2.0001) return (decimal){2, exponent};
    if (mantissa <= 5.0001) return (decimal){5, exponent};
    return (decimal){1, exponent + 1};
}

static int linear_ticks(const ct_plot_scale *scale, int wanted, ct_plot_tick ticks[CT_PLOT_TICKS]) {
    decimal step = tick_step(scale->high - scale->low, wanted);
    double size = decimal_value(step), slack = 1e-9;
    double first = ceil(scale->low / size - slack), last = floor(scale->high / size + slack);
    if (!(fabs(first) < 1e15 && fabs(last) < 1e15))
        return 0; /* the values differ by less than they can show */
    int count = 0;
    for (int64_t i = (int64_t)first; i <= (int64_t)last && count < CT_PLOT_TICKS; i++) {
        decimal tick = {i * step.number, step.exponent};
        ticks[count].value = decimal_value(tick);
        tick_label(ticks[count].label, tick, fmax(fabs(first), fabs(last)) * size);
        count++;
    }
    return count;
}

/* 1, 2 and 5 of every decade, or only every so many powers of ten. */
static int logarithmic_ticks(const ct_plot_scale *scale, int wanted, ct_plot_tick ticks[CT_PLOT_TICKS]) {
    static const int64_t mantissas[] = {1, 2, 5};
    double low = log10(scale->low), high = log10(scale->high);
    int within = (high - low) * 3 <= wanted + 2 ? 3 : 1;
    int every = within == 3 ? 1 : (int)fmax(1, ceil((high - low) / wanted));
    int count = 0;
    for (int exponent = (int)floor(low); exponent <= (int)ceil(high); exponent++) {
        if (exponent % every != 0) continue;
        for (int i = 0; i < within && count < CT_PLOT_TICKS; i++) {
            decimal tick = {mantissas[i], exponent};
            double value = decimal_value(tick), at = log10(value);
            if (at < low - 1e-9 || at > high + 1e-9) continue;
            ticks[count].value = value;
            /* Each number for itself: 0.001, 500, 20k, 1e-5. */
            tick_label(ticks[count].label, tick, value);
            count++;
        }
    }
    return count;
}

int ct_plot_ticks(const ct_plot_scale *scale, int wanted, ct_plot_tick ticks[CT_PLOT_TICKS]) {
    if (wanted < 2) wanted = 2;
    if (wanted > CT_PLOT_TICKS / 3) wanted = CT_PLOT_TICKS / 3;
    if (scale->logarithmic && scale->high / scale->low >= 10) return logarithmic_ticks(scale, wanted, ticks);
    return linear_ticks(scale, wanted, ticks);
}
