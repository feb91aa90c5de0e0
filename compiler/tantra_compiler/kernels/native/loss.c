/* The cross-entropy of rows of scores; the scores of each row become their own gradient where that is wanted.
 *
 * S is the type of the scores, ``value`` what goes on between them and the loss, ``slope`` its derivative. The
 * arithmetic is float32's. at: scores, classes (int64), which rows count (one byte each), losses.
 */

void loss(void *const *at, const f32 *settings, int64_t rows, int64_t classes, int taught, int threads) {
    const f32 smoothing = settings[0], z_loss = settings[1];
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        S *scores = (S *)at[0] + row * classes;
        const int64_t target = ((int64_t *)at[1])[row];
        f32 *made = (f32 *)at[3] + row;
        if (!((uint8_t *)at[2])[row]) {
            *made = 0;
            if (taught) memset(scores, 0, classes * sizeof(S));
            continue;
        }
        f32 top = -__builtin_inff(), sum = 0, all = 0;
        #pragma omp simd reduction(max : top) reduction(+ : all)
        for (int64_t i = 0; i < classes; i++) {
            const f32 score = value(FROM(S, scores[i]));
            top = score > top ? score : top;
            all += score;
        }
        #pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < classes; i++) sum += expf(value(FROM(S, scores[i])) - top);
        const f32 norm = top + logf(sum), share = smoothing / classes, chosen = FROM(S, scores[target]);
        *made = norm - (1 - smoothing) * value(chosen) + z_loss * norm * norm;
        if (smoothing) *made -= share * all;
        if (!taught) continue;
        const f32 weight = 1 + 2 * z_loss * norm;
        #pragma omp simd
        for (int64_t i = 0; i < classes; i++) {
            const f32 score = FROM(S, scores[i]);
            scores[i] = TO(S, (expf(value(score) - norm) * weight - share) * slope(score));
        }
        const f32 missed = expf(value(chosen) - norm) * weight - share - (1 - smoothing);
        scores[target] = TO(S, missed * slope(chosen));
    }
}
