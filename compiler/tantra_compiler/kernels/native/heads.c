/* Heads normalised and turned by their positions, and the way back: every head is read from memory once.
 *
 * Types: I of what is read, O of what is written, X of the heads before the norm. The arithmetic is float32's. Heads lie
 * [batch, time, heads, width] with strides of their own, tables of cosines and signed sines [time, turning]; ``pairs``
 * tells whether neighbours turn with each other, or numbers that lie half of ``turning`` apart.
 */

typedef struct {
    int64_t batch, time, heads, width, turning;
    int64_t in[3], out[3], before[3]; /* strides of batch, time and head */
    int64_t rows_of_task;
    int pairs, norm, threads; /* norm: 0 none, 1 rms, 2 layernorm */
    f32 eps, sign;
} Shape;

static inline void turn(f32 *x, const f32 *cos, const f32 *sin, const Shape *shape) {
    const int64_t half = shape->turning / 2;
    const f32 sign = shape->sign;
    if (shape->pairs) {
        #pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            const f32 a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * cos[2 * i] + sign * b * sin[2 * i];
            x[2 * i + 1] = b * cos[2 * i + 1] + sign * a * sin[2 * i + 1];
        }
    } else {
        #pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            const f32 a = x[i], b = x[i + half];
            x[i] = a * cos[i] + sign * b * sin[i];
            x[i + half] = b * cos[i + half] + sign * a * sin[i + half];
        }
    }
}

/* at: heads, result, cosines, sines, weight, bias, scales, means. */
void forward(void *const *at, const Shape *shape) {
    const int64_t width = shape->width;
    const f32 *cos = at[2], *sin = at[3], *weight = at[4], *bias = at[5];
    f32 *scales = at[6], *means = at[7];
    #pragma omp parallel for num_threads(shape->threads) schedule(static)
    for (int64_t row = 0; row < shape->batch * shape->time; row++) {
        const int64_t b = row / shape->time, t = row % shape->time;
        f32 x[width];
        for (int64_t head = 0; head < shape->heads; head++) {
            const I *from = (I *)at[0] + b * shape->in[0] + t * shape->in[1] + head * shape->in[2];
            O *to = (O *)at[1] + b * shape->out[0] + t * shape->out[1] + head * shape->out[2];
            #pragma omp simd
            for (int64_t i = 0; i < width; i++) x[i] = FROM(I, from[i]);
            if (shape->norm) {
                f32 mean = 0, squares = 0;
                if (shape->norm == 2) {
                    #pragma omp simd reduction(+ : mean)
                    for (int64_t i = 0; i < width; i++) mean += x[i];
                    mean /= width;
                    means[row * shape->heads + head] = mean;
                }
                #pragma omp simd reduction(+ : squares)
                for (int64_t i = 0; i < width; i++) squares += (x[i] - mean) * (x[i] - mean);
                const f32 scale = 1.0f / __builtin_sqrtf(squares / width + shape->eps);
                scales[row * shape->heads + head] = scale;
                #pragma omp simd
                for (int64_t i = 0; i < width; i++) x[i] = (x[i] - mean) * scale * weight[i] + bias[i];
            }
            if (cos) turn(x, cos + t * shape->turning, sin + t * shape->turning, shape);
            #pragma omp simd
            for (int64_t i = 0; i < width; i++) to[i] = TO(O, x[i]);
        }
    }
}

/* at: gradient, its result, cosines, sines, weight, sums for the weight, for the bias, scales, means, heads before.
 *
 * Each task sums the gradients of weight and bias over rows of its own, into a row of its own.
 */
void backward(void *const *at, const Shape *shape) {
    const int64_t width = shape->width, rows = shape->batch * shape->time;
    const int64_t tasks = (rows + shape->rows_of_task - 1) / shape->rows_of_task;
    const f32 *cos = at[2], *sin = at[3], *weight = at[4], *scales = at[7], *means = at[8];
    #pragma omp parallel for num_threads(shape->threads) schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        f32 x[width], normal[width];
        f32 *dweight = at[5] ? (f32 *)at[5] + task * width : 0, *dbias = at[6] ? (f32 *)at[6] + task * width : 0;
        const int64_t end = least(rows, (task + 1) * shape->rows_of_task);
        for (int64_t row = task * shape->rows_of_task; row < end; row++) {
            const int64_t b = row / shape->time, t = row % shape->time;
            for (int64_t head = 0; head < shape->heads; head++) {
                const I *from = (I *)at[0] + b * shape->in[0] + t * shape->in[1] + head * shape->in[2];
                O *to = (O *)at[1] + b * shape->out[0] + t * shape->out[1] + head * shape->out[2];
                #pragma omp simd
                for (int64_t i = 0; i < width; i++) x[i] = FROM(I, from[i]);
                if (cos) turn(x, cos + t * shape->turning, sin + t * shape->turning, shape);
                if (shape->norm) {
                    const X *before = (X *)at[9] + b * shape->before[0] + t * shape->before[1] + head * shape->before[2];
                    const f32 scale = scales[row * shape->heads + head];
                    const f32 mean = means ? means[row * shape->heads + head] : 0;
                    f32 share = 0, middle = 0;
                    #pragma omp simd reduction(+ : share, middle)
                    for (int64_t i = 0; i < width; i++) {
                        normal[i] = (FROM(X, before[i]) - mean) * scale;
                        share += x[i] * weight[i] * normal[i];
                        middle += x[i] * weight[i];
                    }
                    share /= width;
                    middle = means ? middle / width : 0;
                    if (dweight) {
                        #pragma omp simd
                        for (int64_t i = 0; i < width; i++) dweight[i] += x[i] * normal[i];
                    }
                    if (dbias) {
                        #pragma omp simd
                        for (int64_t i = 0; i < width; i++) dbias[i] += x[i];
                    }
                    #pragma omp simd
                    for (int64_t i = 0; i < width; i++) x[i] = scale * (x[i] * weight[i] - normal[i] * share - middle);
                }
                #pragma omp simd
                for (int64_t i = 0; i < width; i++) to[i] = TO(O, x[i]);
            }
        }
    }
}
