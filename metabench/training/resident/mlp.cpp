// A whole training run of a multilayer perceptron in one call: weights and optimizer state stay in the core's caches.
//
// The arithmetic is fixed to the bit: sums run in index order through fused multiply-adds, whatever the register tile,
// so a curve depends neither on the instruction set nor on the run's neighbours. metabench/training/sequential.py is
// the same definition written with torch.nn and torch.optim.
#include "activations.h"
#include "product.h"
#include "run.h"

// ------------------------------------------------------------------------------------------------ interface
extern "C" {

struct Config {
  int32_t width, depth, activation, norm, optimizer, batch, clip, epochs;
  uint32_t seed, drop;  // drop: dropout probability times 2^24
  float drop_scale, noise, smoothing, init_scale;
  double weight_decay, momentum, beta1, beta2, clip_norm;
};
}

namespace {

const int BLOCK = 64;  // rows evaluated at a time

struct Layer {
  int in, out, outp;  // outp: columns rounded up to 16
  float *w, *b, *gamma, *beta;
  float *h, *d, *xhat, *rstd;  // outputs, activation derivative × mask, normalised pre-activation, 1 / std
};

// What follows a hidden layer's sums: activation and (in training) dropout of sixteen columns of a row.
template <int A, bool TRAIN, bool DROP>
struct Finish {
  float *h, *d;
  int width, ld;
  uint32_t key, drop;
  float scale;

  inline void operator()(int row, int column, V z) const {
    V slope, value = activate<A>(z, slope);
    if (DROP) {
      const M dropped = below(shr<8>(hashes(key, row * width + column)), usplat(drop));
      value = select(dropped, splat(0.f), value * splat(scale));
      slope = select(dropped, splat(0.f), slope * splat(scale));
    }
    store(h + (size_t)row * ld + column, value);
    if (TRAIN) store(d + (size_t)row * ld + column, slope);
  }
};

struct Run {
  const Data& data;
  const Config& c;
  int batch, padded, layers, outputs, outp, inp;
  Layer layer[8];
  // parameters, gradients, first and second moments; inputs; gradients of pre-activations; gradients of outputs;
  // transposed weights; 1 in the true columns of a hidden layer, of the output layer and of the inputs, 0 in their padding
  float *memory, *p, *g, *m, *s, *xb, *dz, *dz_below, *dh, *wt, *mask, *real, *seen;
  size_t n;  // floats in p
  double power1 = 1, power2 = 1;
  Outputs loss;

  Run(const Data& data, const Config& c) : data(data), c(c), loss{data, 0, 0, c.smoothing, nullptr} {
    batch = c.batch < data.train.rows ? c.batch : data.train.rows;
    padded = up(batch, 8);
    layers = c.depth + 1;
    outputs = data.classes ? data.classes : 1;
    outp = up(outputs, 16);
    inp = up(data.features, 16);
    const int rows = padded > BLOCK ? padded : BLOCK, wp = up(c.width, 16), widest = wp > outp ? wp : outp;
    n = 0;
    for (int l = 0; l < layers; l++) {
      Layer& y = layer[l];
      y.in = l ? c.width : data.features;
      y.out = l < c.depth ? c.width : outputs;
      y.outp = up(y.out, 16);
      n += (size_t)up(y.in, 16) * y.outp + y.outp + (c.norm && l < c.depth ? 2 * y.outp : 0);
    }
    const size_t act = (size_t)rows * widest, square = (size_t)widest * wp;
    const size_t floats =
        4 * n + (size_t)rows * inp + 3 * act + square + 2 * widest + inp + layers * (3 * act + up(rows, 16));
    if (posix_memalign((void**)&memory, 64, floats * sizeof(float))) throw std::bad_alloc();
    memset(memory, 0, floats * sizeof(float));
    float* next = memory;
    auto take = [&](size_t k) { float* at = next; next += k; return at; };
    p = take(n); g = take(n); m = take(n); s = take(n);
    xb = take((size_t)rows * inp); dz = take(act); dz_below = take(act); dh = take(act); wt = take(square);
    mask = take(widest); real = take(widest); seen = take(inp);
    for (int j = 0; j < c.width; j++) mask[j] = 1.f;
    for (int j = 0; j < outputs; j++) real[j] = 1.f;
    loss.n = outputs;
    loss.width = outp;
    loss.real = real;
    for (int j = 0; j < data.features; j++) seen[j] = 1.f;
    float* at = p;
    auto place = [&](size_t k) { float* value = at; at += k; return value; };
    for (int l = 0; l < layers; l++) {
      Layer& y = layer[l];
      y.w = place((size_t)up(y.in, 16) * y.outp);
      y.b = place(y.outp);
      if (c.norm && l < c.depth) {
        y.gamma = place(y.outp);
        y.beta = place(y.outp);
        for (int j = 0; j < y.out; j++) y.gamma[j] = 1.f;
      }
      y.h = take(act); y.d = take(act); y.xhat = take(act); y.rstd = take(up(rows, 16));
      const uint32_t k0 = key(c.seed, WEIGHTS + l, 0);
      const float bound = (float)((l < c.depth ? (double)c.init_scale : 1.0) * std::sqrt(3.0 / y.in));
      for (int i = 0; i < y.in; i++)
        for (int j = 0; j < y.out; j++) {
          float u = (mix(k0 + (uint32_t)(i * y.out + j) * GOLDEN) >> 8) * (1.f / 16777216.f);
          y.w[(size_t)i * y.outp + j] = bound * (2.f * u - 1.f);
        }
    }
  }
  ~Run() { free(memory); }

  // The rows of a batch into xb, with noise.
  void gather(const uint32_t* row, uint32_t step) {
    for (int r = 0; r < batch; r++)
      for (int k = 0; k < inp; k += 16) store(xb + (size_t)r * inp + k, load(data.train.x + (size_t)row[r] * inp + k));
    if (!(c.noise > 0)) return;
    const uint32_t ka = key(c.seed, NOISE_A, step), kb = key(c.seed, NOISE_B, step);
    const V unit = splat((float)(std::sqrt(3.0) / 65536.0)), middle = splat(131070.f), zero = splat(0.f);
    const U low = usplat(0xffff);
    for (int r = 0; r < batch; r++)
      for (int k = 0; k < inp; k += 16) {
        float* x = xb + (size_t)r * inp + k;
        const U a = hashes(ka, r * data.features + k), b = hashes(kb, r * data.features + k);
        const V z = (tofloat((a & low) + shr<16>(a) + (b & low) + shr<16>(b)) - middle) * unit;
        store(x, select(less(zero, load(seen + k)), fma(splat(c.noise), z, load(x)), zero));
      }
  }

  // Outputs of a hidden layer for `rows` rows of x.
  template <int A, bool TRAIN, bool DROP>
  void hidden(Layer& y, int l, const float* x, size_t ldx, int rows, uint32_t step) {
    const Finish<A, TRAIN, DROP> finish{y.h, y.d, y.out, y.outp, key(c.seed, DROPOUT + l, step), c.drop, c.drop_scale};
    if (A == RELU && !c.norm) return product(x, ldx, 1, rows, y.in, y.w, y.outp, y.b, y.outp, finish);
    into(y.h, y.outp, x, ldx, rows, y.in, y.w, y.outp, y.b);
    const float inverse = 1.f / y.out;
    for (int r = 0; r < rows; r++) {
      float *h = y.h + (size_t)r * y.outp, *xh = y.xhat + (size_t)r * y.outp;
      if (!c.norm) {
        for (int j = 0; j < y.outp; j += 16) finish(r, j, load(h + j));
        continue;
      }
      V sum = splat(0.f), square = splat(0.f);
      for (int j = 0; j < y.outp; j += 16) sum = sum + load(h + j);
      const V mean = splat(total(sum) * inverse);
      for (int j = 0; j < y.outp; j += 16) {
        V e = (load(h + j) - mean) * load(mask + j);
        square = fma(e, e, square);
      }
      y.rstd[r] = 1.f / std::sqrt(total(square) * inverse + 1e-5f);
      const V rstd = splat(y.rstd[r]);
      for (int j = 0; j < y.outp; j += 16) {
        V e = (load(h + j) - mean) * rstd * load(mask + j);
        if (TRAIN) store(xh + j, e);
        finish(r, j, fma(e, load(y.gamma + j), load(y.beta + j)));
      }
    }
  }

  template <int A>
  void hidden(Layer& y, int l, const float* x, size_t ldx, int rows, bool training, uint32_t step) {
    if (!training) hidden<A, false, false>(y, l, x, ldx, rows, step);
    else if (c.drop) hidden<A, true, true>(y, l, x, ldx, rows, step);
    else hidden<A, true, false>(y, l, x, ldx, rows, step);
  }

  // out = bias + a w, all stored.
  void into(float* out, size_t ldo, const float* a, size_t lda, int rows, int K, const float* w, size_t ldw,
            const float* bias) {
    product(a, lda, 1, rows, K, w, ldw, bias, (int)ldo, [=](int r, int j, V z) { store(out + r * ldo + j, z); });
  }

  // Logits of `rows` rows (a multiple of 8) of x, left in the last layer's h.
  void forward(const float* x, int rows, bool training, uint32_t step) {
    size_t ldx = inp;
    for (int l = 0; l < c.depth; l++) {
      Layer& y = layer[l];
      if (c.activation == RELU) hidden<RELU>(y, l, x, ldx, rows, training, step);
      else if (c.activation == TANH) hidden<TANH>(y, l, x, ldx, rows, training, step);
      else if (c.activation == GELU) hidden<GELU>(y, l, x, ldx, rows, training, step);
      else hidden<SILU>(y, l, x, ldx, rows, training, step);
      x = y.h;
      ldx = y.outp;
    }
    Layer& y = layer[c.depth];
    into(y.h, y.outp, x, ldx, rows, y.in, y.w, y.outp, y.b);
  }

  // Gradients of all parameters from dz of the output layer, handed over as sink(place in p, vector). A layer's weights
  // may change as soon as its own gradient comes: nothing reads them afterwards.
  template <class Sink>
  inline void backward(const Sink& sink) {
    for (int l = layers - 1; l >= 0; l--) {
      Layer& y = layer[l];
      const float *dz = this->dz, *h = l ? layer[l - 1].h : xb;
      if (l) backward_hidden(layer[l - 1], y, sink);
      const size_t w = y.w - p, b = y.b - p, ld = y.outp;
      product(h, 1, l ? layer[l - 1].outp : inp, up(y.in, 8), batch, dz, ld, nullptr, y.outp,
              [&sink, w, ld](int r, int j, V x) { sink(w + r * ld + j, x); });
      column_sums(dz, batch, y.outp, [&sink, b](int j, V x) { sink(b + j, x); });
      std::swap(this->dz, dz_below);
    }
  }

  // dz of hidden layer x into dz_below, from dz of the layer y above it.
  template <class Sink>
  inline void backward_hidden(Layer& x, Layer& y, const Sink& sink) {
    const size_t ld = x.outp;
    float* out = dz_below;
    transpose(y.w, y.outp, y.in, y.out, wt, ld);
    if (!c.norm) {
      const float* d = x.d;
      return product(dz, y.outp, 1, padded, y.out, wt, ld, nullptr, x.outp, [out, d, ld](int r, int j, V e) {
        store(out + r * ld + j, e * load(d + r * ld + j));
      });
    }
    into(dh, ld, dz, y.outp, padded, y.out, wt, ld, nullptr);
    float *ggamma = g + (x.gamma - p), *gbeta = g + (x.beta - p);
    memset(ggamma, 0, 2 * ld * sizeof(float));
    for (int r = 0; r < padded; r++) {
      float *e = dh + r * ld;
      const float *d = x.d + r * ld, *xh = x.xhat + r * ld;
      V sum = splat(0.f), dot = splat(0.f);
      for (int j = 0; j < x.outp; j += 16) {
        V u = load(e + j) * load(d + j), xv = load(xh + j);
        store(gbeta + j, load(gbeta + j) + u);
        store(ggamma + j, fma(u, xv, load(ggamma + j)));
        u = u * load(x.gamma + j);
        store(e + j, u);
        sum = sum + u;
        dot = fma(u, xv, dot);
      }
      const float inverse = 1.f / x.out;
      const V a = splat(total(sum) * inverse), b = splat(total(dot) * inverse), k = splat(x.rstd[r]);
      for (int j = 0; j < x.outp; j += 16)
        store(out + r * ld + j, (load(e + j) - a - load(xh + j) * b) * k * load(mask + j));
    }
    for (size_t j = 0; j < 2 * ld; j += 16) sink((x.gamma - p) + j, load(ggamma + j));
  }

  __attribute__((noinline)) void gradients() {
    float* g = this->g;
    backward([g](size_t i, V x) { store(g + i, x); });
  }

  // Backward pass and update. Clipping needs the norm of the whole gradient first; without it each parameter is updated
  // when its gradient leaves the registers.
  template <int O>
  __attribute__((noinline)) void update(double lr) {
    power1 *= c.beta1;
    power2 *= c.beta2;
    float *p = this->p, *m = this->m, *s = this->s;
    const Update<O> rule(lr, c.weight_decay, c.momentum, c.beta1, c.beta2, power1, power2);
    if (!c.clip) return backward([&rule, p, m, s](size_t i, V x) { rule(p + i, m + i, s + i, x); });
    gradients();
    const V factor = splat(clipping(g, n, c.clip_norm));
    for (size_t i = 0; i < n; i += 16) rule(p + i, m + i, s + i, load(g + i) * factor);
  }

  bool learn(const uint32_t* row, uint32_t step, double lr) {
    gather(row, step);
    forward(xb, padded, true, step);
    if (!loss.gradient(layer[c.depth].h, row, batch, padded, dz)) return false;
    switch (c.optimizer) {
      case SGD: update<SGD>(lr); break;
      case MOMENTUM: update<MOMENTUM>(lr); break;
      case NESTEROV: update<NESTEROV>(lr); break;
      case ADAM: update<ADAM>(lr); break;
      case ADAMW: update<ADAMW>(lr); break;
      case RMSPROP: update<RMSPROP>(lr); break;
      case ADAGRAD: update<ADAGRAD>(lr); break;
      default: update<LION>(lr);
    }
    return true;
  }

  // Parameters without padding, layer by layer: weights [in, out], biases, and of a layer norm gamma and beta.
  void hand_over(float* out) const {
    for (int l = 0; l < layers; l++) {
      const Layer& y = layer[l];
      for (int i = 0; i < y.in; i++, out += y.out) memcpy(out, y.w + (size_t)i * y.outp, y.out * sizeof(float));
      const bool normed = c.norm && l < c.depth;
      for (const float* part : {y.b, normed ? y.gamma : nullptr, normed ? y.beta : nullptr})
        if (part) memcpy(out, part, y.out * sizeof(float)), out += y.out;
    }
  }

  bool evaluate(const Split& t, float& mean, float* score) {
    const auto outputs = [this, &t](int at, int rows) {
      forward(t.x + (size_t)at * inp, up(rows, 8), false, 0);
      return layer[c.depth].h;
    };
    return loss.evaluate(t, BLOCK, outputs, mean, score);
  }
};

}  // namespace

extern "C" {

int train(const Data* data, const Config* config, const double* lr, const int32_t* checkpoints, int32_t n_checkpoints,
          float* curve) {
  return train_run<Run>(data, config, lr, checkpoints, n_checkpoints, curve);
}

// The same training; the weights that it ends with are written to `weights`, see Run::hand_over.
int train_keeping(const Data* data, const Config* config, const double* lr, const int32_t* checkpoints,
                  int32_t n_checkpoints, float* curve, float* weights) {
  return train_run<Run>(data, config, lr, checkpoints, n_checkpoints, curve,
                        [weights](const Run& run) { run.hand_over(weights); });
}
}
