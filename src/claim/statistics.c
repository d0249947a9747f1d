/* statistics.c - Student's t and the confidence interval of a mean. */
#include <carat/claim.h>
#include <math.h>

/* The continued fraction of the incomplete beta function (Abramowitz & Stegun 26.5.8), by Lentz's method;
 * converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    if (fabs(d) < tiny) d = tiny;
    d = 1 / d;
    double value = d;
    for (int m = 1; m < 10000; m++) {
        for (int odd = 0; odd < 2; odd++) {
            double term = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                              : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + term * d;
            c = 1 + term / c;
            if (fabs(d) < tiny) d = tiny;
            if (fabs(c) < tiny) c = tiny;
            d = 1 / d;
            value *= c * d;
        }
        if (fabs(c * d - 1) < 1e-15) break;
    }
    return value;
}

/* I_x(a, b), the regularised incomplete beta function; `y` is 1 - x, given apart because it may be tiny. */
static double incomplete_beta(double x, double y, double a, double b) {
    if (x <= 0) return 0;
    if (y <= 0) return 1;
    double factor = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    if (x < (a + 1) / (a + b + 2)) return factor * beta_fraction(x, a, b) / a;
    return 1 - factor * beta_fraction(y, b, a) / b;
}

/* P(T > t) for t >= 0: half of I_x(degrees / 2, 1 / 2) at x = degrees / (degrees + t^2) (A&S 26.7.1). */
static double upper_tail(double t, double degrees) {
    double sum = degrees + t * t;
    return 0.5 * incomplete_beta(degrees / sum, t * t / sum, degrees / 2, 0.5);
}

double ct_student_quantile(double probability, double degrees) {
    if (!(probability > 0 && probability < 1) || !(degrees > 0)) return NAN;
    if (probability == 0.5) return 0;
    double tail = probability > 0.5 ? 1 - probability : probability, low = 0, high = 1;
    while (upper_tail(high, degrees) > tail && high < 1e150)
        high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-14 * high; i++) {
        double middle = low + (high - low) / 2;
        if (upper_tail(middle, degrees) > tail)
            low = middle;
        else
            high = middle;
    }
    double t = low + (high - low) / 2;
    return probability > 0.5 ? t : -t;
}

ct_claim_interval ct_claim_interval_of(const double *values, int count, double confidence) {
    ct_claim_interval interval = {count, NAN, NAN, NAN, NAN, confidence};
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        if (!isfinite(values[i])) return interval;
        sum += values[i];
    }
    if (count < 1) return interval;
    interval.mean = sum / count;
    if (count == 1) return interval;
    for (int i = 0; i < count; i++)
        squares += (values[i] - interval.mean) * (values[i] - interval.mean);
    interval.deviation = sqrt(squares / (count - 1));
    double half = ct_student_quantile(0.5 + confidence / 2, count - 1) * interval.deviation / sqrt(count);
    interval.low = interval.mean - half;
    interval.high = interval.mean + half;
    return interval;
}
