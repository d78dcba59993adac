// What every compiled workload shares: data, the loss of its outputs and their score, and the way through the epochs.
#pragma once
#include "hashing.h"
#include "optimizers.h"

#include <cfloat>
#include <cstdlib>
#include <memory>
#include <new>

inline int up(int n, int m) { return (n + m - 1) / m * m; }

enum Metric { ACCURACY, BALANCED_ACCURACY, R2 };

extern "C" {

struct Split {  // rows padded with zeros to a multiple of 16 columns, and by 16 rows at the end
  const float* x;
  const int32_t* label;  // classification
  const float* target;   // regression
  int32_t rows;
};

struct Data {
  Split train, valid, test;
  int32_t features, classes, metric;  // classes 0: regression
};

const char* isa() { return MB_ISA; }
}

// Outputs lie row by row, [rows, width]: `n` of them, and zeros up to a multiple of 16.
struct Outputs {
  const Data& data;
  int n, width;
  float smoothing;
  const float* real;  // 1 in the true columns, 0 in their padding

  // Softmax of one row of logits in place (padding becomes 0); `top` and `sum` give the log of the normaliser,
  // top + log(sum). A NaN among the logits makes `sum` NaN. COLUMNS: the width when the compiler is to know it, else 0.
  template <int COLUMNS>
  inline void softmax(float* z, float& top, float& sum) const {
    const int width = COLUMNS ? COLUMNS : this->width;
    const V least = splat(-FLT_MAX), zero = splat(0.f);
    top = -FLT_MAX;
    for (int j = 0; j < width; j += 16) {
      V a = select(less(zero, load(real + j)), load(z + j), least);
      store(z + j, a);
      const float t = largest(a);
      top = t > top ? t : top;
    }
    V all = zero;
    for (int j = 0; j < width; j += 16) {
      V e = expv(load(z + j) - splat(top)) * load(real + j);
      store(z + j, e);
      all = all + e;
    }
    sum = total(all);
    const V inverse = splat(1.f / sum);
    for (int j = 0; j < width; j += 16) store(z + j, load(z + j) * inverse);
  }

  // The gradient of the mean loss of a batch into dz, 0 in the rows from `batch` to `padded`; false when the loss is not
  // finite. `row` are the training rows; the outputs h are overwritten.
  bool gradient(float* h, const uint32_t* row, int batch, int padded, float* dz) const {
    return width == 16 ? gradient<16>(h, row, batch, padded, dz) : gradient<0>(h, row, batch, padded, dz);
  }

  template <int COLUMNS>
  __attribute__((noinline)) bool gradient(float* h, const uint32_t* row, int batch, int padded, float* dz) const {
    const int width = COLUMNS ? COLUMNS : this->width;
    const float scale = 1.f / batch, smooth = n > 1 ? smoothing / n : 0.f;
    float loss = 0;
    for (int r = batch; r < padded; r++) memset(dz + (size_t)r * width, 0, width * sizeof(float));
    for (int r = 0; r < batch; r++) {
      float *z = h + (size_t)r * width, *out = dz + (size_t)r * width;
      if (data.classes) {
        const int label = data.train.label[row[r]];
        float chosen = z[label], top, sum;
        softmax<COLUMNS>(z, top, sum);
        loss += sum + top - chosen;  // finite exactly when the cross-entropy is
        for (int j = 0; j < width; j += 16)
          store(out + j, (load(z + j) - splat(smooth)) * splat(scale) * load(real + j));
        out[label] -= (1.f - smoothing) * scale;
      } else {
        const float e = z[0] - data.train.target[row[r]];
        loss += e * e;
        store(out, splat(0.f));
        out[0] = 2.f * e * scale;
      }
    }
    return std::isfinite(loss);
  }

  // Mean loss and score of a split; false when one of them is not finite. forward(first row, rows) gives the outputs of
  // `block` rows or what is left of them.
  template <class Forward>
  __attribute__((noinline)) bool evaluate(const Split& t, int block, const Forward& forward, float& loss,
                                          float* score) const {
    double sum = 0, mean = 0, spread = 0;
    int hits[512] = {0}, count[512] = {0}, correct = 0;
    for (int at = 0; at < t.rows; at += block) {
      const int rows = t.rows - at < block ? t.rows - at : block;
      float* h = forward(at, rows);
      for (int r = 0; r < rows; r++) {
        float* z = h + (size_t)r * width;
        if (data.classes) {
          const int label = t.label[at + r];
          const float chosen = z[label];
          bool hit = chosen == chosen;
          for (int j = 0; j < n; j++) hit &= j < label ? z[j] < chosen : j == label || z[j] <= chosen;
          correct += hit;
          hits[label] += hit;
          count[label]++;
          float top, norm;
          softmax<0>(z, top, norm);
          sum += std::log((double)norm) + top - chosen;
        } else {
          const double e = (double)z[0] - t.target[at + r];
          sum += e * e;
        }
      }
    }
    loss = (float)(sum / t.rows);
    if (score && data.metric == ACCURACY) *score = (float)((double)correct / t.rows);
    if (score && data.metric == BALANCED_ACCURACY) {
      double recall = 0;
      int present = 0;
      for (int k = 0; k < data.classes; k++)
        if (count[k]) { recall += (double)hits[k] / count[k]; present++; }
      *score = (float)(recall / present);
    }
    if (score && data.metric == R2) {
      for (int r = 0; r < t.rows; r++) mean += t.target[r];
      mean /= t.rows;
      for (int r = 0; r < t.rows; r++) spread += (t.target[r] - mean) * (t.target[r] - mean);
      *score = (float)(1 - sum / spread);
    }
    return std::isfinite(loss) && (!score || std::isfinite(*score));
  }
};

// The factor that clips a gradient of n numbers to a norm.
inline float clipping(const float* g, size_t n, double norm) {
  V sum = splat(0.f);
  for (size_t i = 0; i < n; i += 16) { V x = load(g + i); sum = fma(x, x, sum); }
  const double f = norm / (std::sqrt((double)total(sum)) + 1e-6);
  return f > 1 ? 1.f : (float)f;
}

// Trains one run: R is made of (data, config) and has `batch`, learn(rows of the batch, step, learning rate), false when
// the loss is not finite, and evaluate(split, loss, score), false when one of them is not. lr: learning rate of every
// step. curve: [checkpoints, 5] = train, valid, test loss, valid, test score. Returns the number of checkpoints reached
// (fewer than asked for: diverged), or -1 when memory ran out. `trained` is called with a run that reached its last epoch.
template <class R, class Config, class Trained>
int train_run(const Data* data, const Config* config, const double* lr, const int32_t* checkpoints,
              int32_t n_checkpoints, float* curve, const Trained& trained) {
#if defined(__x86_64__)
  struct Flush {  // subnormal numbers count as zero: they would slow training down a hundredfold
    unsigned saved = _mm_getcsr();
    Flush() { _mm_setcsr(saved | 0x8040); }
    ~Flush() { _mm_setcsr(saved); }
  } flush;
#endif
  try {
    R run(*data, *config);
    const Split& t = data->train;
    const int steps = t.rows / run.batch, n = up(t.rows, 16);
    std::unique_ptr<uint32_t, void (*)(void*)> space(
        static_cast<uint32_t*>(std::aligned_alloc(64, 4 * (size_t)n * sizeof(uint32_t))), std::free);
    if (!space) throw std::bad_alloc();
    uint32_t *order = space.get(), *hash = order + n, *spare = hash + n, *spare_hash = spare + n;
    uint32_t step = 0;
    int reached = 0;
    for (int epoch = 0; epoch < config->epochs; epoch++) {
      permutation(key(config->seed, ORDER, epoch), t.rows, order, hash, spare, spare_hash);
      for (int i = 0; i < steps; i++, step++)
        if (!run.learn(order + (size_t)i * run.batch, step, lr[step])) return reached;
      if (reached < n_checkpoints && epoch + 1 == checkpoints[reached]) {
        float* at = curve + 5 * reached;
        if (!run.evaluate(data->train, at[0], nullptr) || !run.evaluate(data->valid, at[1], at + 3) ||
            !run.evaluate(data->test, at[2], at + 4))
          return reached;
        reached++;
      }
    }
    trained(run);
    return reached;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

template <class R, class Config>
int train_run(const Data* data, const Config* config, const double* lr, const int32_t* checkpoints,
              int32_t n_checkpoints, float* curve) {
  return train_run<R>(data, config, lr, checkpoints, n_checkpoints, curve, [](const R&) {});
}
