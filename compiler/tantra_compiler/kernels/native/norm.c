/* A sum and its norm, and both their gradients: every row is read from memory once.
 *
 * Types: X and Y of what is added, T of the sum, N of the norm, D of the sum's gradient. The arithmetic is float32's.
 * Without y nothing is added, T is X, and no sum is written.
 */

void forward(void *const *at, const int64_t *stride, int64_t rows, int64_t width, f32 eps, int centred, int threads) {
    const f32 *weight = at[2], *bias = at[3];
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const X *x = (X *)at[0] + row * stride[0];
        const T *total = (T *)x;
        N *normal = (N *)at[5] + row * width;
        f32 mean = 0, squares = 0;
        if (at[1]) {
            const Y *y = (Y *)at[1] + row * stride[1];
            T *sum = (T *)at[4] + row * width;
            #pragma omp simd simdlen(16) reduction(+ : mean)
            for (int64_t i = 0; i < width; i++) {
                sum[i] = TO(T, FROM(X, x[i]) + FROM(Y, y[i]));
                mean += FROM(T, sum[i]);
            }
            total = sum;
        } else if (centred) {
            #pragma omp simd simdlen(16) reduction(+ : mean)
            for (int64_t i = 0; i < width; i++) mean += FROM(T, total[i]);
        }
        mean = centred ? mean / width : 0;
        if (centred) ((f32 *)at[6])[row] = mean;
        #pragma omp simd simdlen(16) reduction(+ : squares)
        for (int64_t i = 0; i < width; i++) {
            const f32 from_mean = FROM(T, total[i]) - mean;
            squares += from_mean * from_mean;
        }
        const f32 scale = 1.0f / __builtin_sqrtf(squares / width + eps);
        ((f32 *)at[7])[row] = scale;
        #pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            normal[i] = TO(N, (FROM(T, total[i]) - mean) * scale * weight[i] + bias[i]);
        }
    }
}

/* Each task sums the gradients of weight and bias over rows of its own, into a row of its own. */
void backward(void *const *at, const int64_t *stride, int64_t rows, int64_t width, int64_t rows_of_task, int threads) {
    const f32 *weight = at[3], *means = at[4], *scales = at[5];
    const int64_t tasks = (rows + rows_of_task - 1) / rows_of_task;
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        f32 *dweight = at[8] ? (f32 *)at[8] + task * width : 0;
        f32 *dbias = at[9] ? (f32 *)at[9] + task * width : 0;
        for (int64_t row = task * rows_of_task; row < least(rows, (task + 1) * rows_of_task); row++) {
            const D *dsum = at[0] ? (D *)at[0] + row * stride[0] : 0;
            const N *dnormal = (N *)at[1] + row * stride[1];
            const T *total = (T *)at[2] + row * stride[2];
            X *dx = (X *)at[6] + row * width;
            Y *dy = at[7] ? (Y *)at[7] + row * width : 0;
            const f32 mean = means ? means[row] : 0, scale = scales[row];
            f32 share = 0, middle = 0;
            #pragma omp simd simdlen(16) reduction(+ : share, middle)
            for (int64_t i = 0; i < width; i++) {
                const f32 slope = FROM(N, dnormal[i]) * weight[i];
                share += slope * ((FROM(T, total[i]) - mean) * scale);
                middle += slope;
            }
            share /= width;
            middle = means ? middle / width : 0;
            #pragma omp simd
            for (int64_t i = 0; i < width; i++) {
                const f32 normal = (FROM(T, total[i]) - mean) * scale;
                f32 made = scale * (FROM(N, dnormal[i]) * weight[i] - normal * share - middle);
                if (dsum) made += FROM(D, dsum[i]);
                dx[i] = TO(X, made);
                if (dy) dy[i] = TO(Y, made);
            }
            if (dweight) {
                #pragma omp simd
                for (int64_t i = 0; i < width; i++) {
                    dweight[i] += FROM(N, dnormal[i]) * ((FROM(T, total[i]) - mean) * scale);
                }
            }
            if (dbias) {
                #pragma omp simd
                for (int64_t i = 0; i < width; i++) dbias[i] += FROM(N, dnormal[i]);
            }
        }
    }
}
