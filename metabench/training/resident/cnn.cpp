// A whole training run of a convolutional network in one call: metabench/workloads/cnn/cohort.py is the same definition written
// with torch.nn. Sums run in a fixed order through fused multiply-adds, so a curve depends neither on the instruction set
// nor on the run's neighbours.
#include "convolve.h"
#include "product.h"
#include "run.h"

enum Pooling { MAX, AVERAGE, STRIDE };

extern "C" {

struct Config {
  int32_t colours, height, width;
  int32_t channels, blocks, kernel, pooling, norm, augment, optimizer, batch, clip, epochs;
  uint32_t seed, drop;  // drop: dropout probability times 2^24
  float drop_scale, smoothing;
  double init_scale, shift, rotation, scale, flip, cutout, weight_decay, momentum, beta1, beta2, clip_norm;
};
}

namespace {

// Zeroed memory on cache lines, given back all at once.
struct Arena {
  std::vector<float*> blocks;
  ~Arena() { for (float* block : blocks) free(block); }
  float* take(size_t n) {
    float* block;
    n += 16;
    if (posix_memalign((void**)&block, 64, n * sizeof(float))) throw std::bad_alloc();
    memset(block, 0, n * sizeof(float));
    blocks.push_back(block);
    return block;
  }
  void take(Frame& frame) { frame.data = take(frame.size()); }
};

struct Block {
  int inputs, outputs, stride, pool;  // pool: side of a pool, 1 or 2
  float *w, *b, *gamma, *beta;        // w [inputs × kernel × kernel, outputs]
  Frame in, z, dz, din;               // inputs; sums (with a norm: normal ones); gradients of sums and of inputs
  Sweep forward;
  std::vector<int> at;          // of each place of `forward`, where its gradient is
  std::vector<Sweep> backward;  // of stride 2 one for each parity of row and column
  std::vector<std::vector<int>> turned;  // for each of them, the weight of every (tap, input)
  std::vector<float> rstd;  // of every picture
};

struct Run {
  const Data& data;
  const Config& c;
  const int batch;
  const int lanes, vectors;  // the batch rounded up to whole vectors, and how many there are
  Arena arena;
  std::vector<Block> blocks;
  Frame features, d_features;  // of the linear layer, [F, 1, 1, batch]
  int n_features, wide, pixels, outputs, outp;
  // the linear layer's weights [wide, outp] and bias; parameters, gradients, moments; a batch row by row and pixel by
  // pixel; features, mask, gradient of features row by row; outputs, their gradient; weights the other way round
  float *w, *b, *p, *g, *m, *s, *rows, *columns, *h, *mask, *dh, *out, *dz, *wt, *turned, *sum, *real;
  size_t n = 0;
  double power1 = 1, power2 = 1;
  std::vector<float> across, down;  // column and row of every pixel
  std::vector<int> corner[4];
  std::vector<float> share[4];
  Outputs loss;

  Run(const Data& data, const Config& c)
      : data(data), c(c), batch(std::min(c.batch, data.train.rows)), lanes(up(batch, 16)), vectors(lanes / 16),
        loss{data, data.classes, up(data.classes, 16), c.smoothing, nullptr} {
    outputs = data.classes;
    outp = loss.width;
    pixels = up(data.features, 16);
    shapes();
    const Block& last = blocks.back();
    n_features = last.outputs * (last.z.height / last.pool) * (last.z.width / last.pool);
    wide = up(n_features, 16);
    parameters();
    for (Frame* f : {&features, &d_features}) {
      *f = Frame(last.outputs, last.z.height / last.pool, last.z.width / last.pool, 0, lanes, true);
      f->data = arena.take((size_t)wide * lanes);
    }
    size_t most = 0, sums = 0;
    for (const Block& y : blocks) {
      most = std::max(most, (size_t)y.inputs * c.kernel * c.kernel * y.outputs);
      sums = std::max(sums, (size_t)up(y.inputs * c.kernel * c.kernel * y.outputs, 16) * 16);
    }
    turned = arena.take(most);
    sum = arena.take(sums);
    rows = arena.take((size_t)lanes * pixels);
    columns = arena.take((size_t)lanes * pixels);
    h = arena.take((size_t)lanes * wide);
    dh = arena.take((size_t)lanes * wide);
    mask = arena.take((size_t)lanes * wide);
    out = arena.take((size_t)lanes * outp);
    dz = arena.take((size_t)lanes * outp);
    wt = arena.take((size_t)wide * outp);
    real = arena.take(outp);
    for (int j = 0; j < outputs; j++) real[j] = 1.f;
    loss.real = real;
    if (c.augment)
      for (int i = 0; i < c.height * c.width; i++) {
        across.push_back(i % c.width);
        down.push_back(i / c.width);
      }
    for (int i = 0; i < 4; i++) {
      corner[i].resize(across.size());
      share[i].resize(across.size());
    }
  }

  // Frames and tables of every block.
  void shapes() {
    int inputs = c.colours, height = c.height, width = c.width;
    const int k = c.kernel, rim = k / 2;
    blocks.resize(c.blocks);
    for (int l = 0; l < c.blocks; l++) {
      Block& y = blocks[l];
      const bool halved = std::min(height, width) > 1;
      y.inputs = inputs;
      y.outputs = c.channels << l;
      y.stride = halved && c.pooling == STRIDE ? 2 : 1;
      y.pool = halved && c.pooling != STRIDE ? 2 : 1;
      const int high = (height + y.stride - 1) / y.stride, across = (width + y.stride - 1) / y.stride;
      y.in = Frame(inputs, height, width, rim, lanes);
      y.z = Frame(y.outputs, high, across, 0, lanes);
      y.dz = Frame(y.outputs, high, across, l ? rim : 0, lanes);
      y.din = Frame(inputs, height, width, 0, lanes);
      for (Frame* f : {&y.in, &y.z, &y.dz}) arena.take(*f);
      if (l) arena.take(y.din);
      y.rstd.resize(lanes);
      for (int i = 0; i < high; i++)
        for (int j = 0; j < across; j++)
          for (int v = 0; v < lanes; v += 16) {
            y.forward.from.push_back(y.in.at(i * y.stride - rim, j * y.stride - rim) + v);
            y.forward.to.push_back(y.z.at(i, j) + v);
            y.at.push_back(y.dz.at(i, j) + v);
          }
      for (int i = 0; i < inputs; i++)
        for (int dy = 0; dy < k; dy++)
          for (int dx = 0; dx < k; dx++) y.forward.tap.push_back(i * y.in.channel + dy * y.in.row + dx * lanes);
      if (l) backward_tables(y);
      inputs = y.outputs;
      height = high / y.pool;
      width = across / y.pool;
    }
  }

  // The gradient of an input is a sum over the places that read it: with stride s those s apart, of its own parity.
  void backward_tables(Block& y) {
    const int k = c.kernel, rim = k / 2, s = y.stride, area = k * k;
    for (int py = 0; py < s; py++)
      for (int px = 0; px < s; px++) {
        Sweep sweep;
        std::vector<int> weight;
        for (int i = py; i < y.in.height; i += s)
          for (int j = px; j < y.in.width; j += s)
            for (int v = 0; v < lanes; v += 16) {
              sweep.from.push_back(y.dz.at(i / s - rim, j / s - rim) + v);
              sweep.to.push_back(y.din.at(i, j) + v);
            }
        for (int o = 0; o < y.outputs; o++)
          for (int dy = 0; dy < k; dy++)
            for (int dx = 0; dx < k; dx++) {
              const int my = py + rim - dy, mx = px + rim - dx;
              if (my % s || mx % s) continue;
              sweep.tap.push_back(o * y.dz.channel + (my / s + rim) * y.dz.row + (mx / s + rim) * lanes);
              for (int i = 0; i < y.inputs; i++) weight.push_back((i * area + dy * k + dx) * y.outputs + o);
            }
        y.backward.push_back(std::move(sweep));
        y.turned.push_back(std::move(weight));
      }
  }

  void parameters() {
    const int area = c.kernel * c.kernel;
    for (const Block& y : blocks) n += up(y.inputs * area * y.outputs, 16) + (c.norm ? 3 : 1) * up(y.outputs, 16);
    n += (size_t)wide * outp + outp;
    p = arena.take(n); g = arena.take(n); m = arena.take(n); s = arena.take(n);
    float* at = p;
    auto place = [&](size_t k) { float* value = at; at += k; return value; };
    for (size_t l = 0; l < blocks.size(); l++) {
      Block& y = blocks[l];
      const int taps = y.inputs * area;
      y.w = place(up(taps * y.outputs, 16));
      y.b = place(up(y.outputs, 16));
      if (c.norm) {
        y.gamma = place(up(y.outputs, 16));
        y.beta = place(up(y.outputs, 16));
        for (int o = 0; o < y.outputs; o++) y.gamma[o] = 1.f;
      }
      initial(l, c.init_scale * std::sqrt(2.0 / taps), y.outputs, taps, y.w, 1, y.outputs);
    }
    w = place((size_t)wide * outp);
    b = place(outp);
    initial(blocks.size(), std::pow(n_features, -0.5), outputs, n_features, w, 1, outp);
  }

  // Weights number `index`, [a, b] in the order of their hashes, at w[i * across + j * along].
  void initial(int index, double std, int a, int b, float* w, size_t across, size_t along) {
    const uint32_t k0 = key(c.seed, WEIGHTS + index, 0);
    const float bound = (float)(std * std::sqrt(3.0));
    for (int i = 0; i < a; i++)
      for (int j = 0; j < b; j++) {
        const float u = (mix(k0 + (uint32_t)(i * b + j) * GOLDEN) >> 8) * (1.f / 16777216.f);
        w[i * across + j * along] = bound * (2.f * u - 1.f);
      }
  }

  // ------------------------------------------------------------------------------------------------ pictures
  // A batch of training rows, augmented.
  void gather(const uint32_t* row, uint32_t step) {
    const uint32_t k = key(c.seed, AUGMENT, step);
    for (int r = 0; r < batch; r++) {
      const float* image = data.train.x + (size_t)row[r] * pixels;
      if (c.augment) augment(image, rows + (size_t)r * pixels, k, r);
      else memcpy(rows + (size_t)r * pixels, image, pixels * sizeof(float));
    }
    show(rows, lanes);
  }

  // Some rows, a multiple of 16, into the frame of the first block.
  void show(const float* x, int n) {
    Frame& f = blocks[0].in;
    transpose(x, pixels, n, pixels, columns, lanes);
    for (int i = 0; i < c.colours; i++)
      for (int y = 0; y < c.height; y++)
        memcpy(f.data + (size_t)i * f.channel + f.at(y, 0), columns + (size_t)(i * c.height + y) * c.width * lanes,
               (size_t)c.width * lanes * sizeof(float));
  }

  // metabench/training/augment.py, of the image in place r of the batch.
  __attribute__((noinline)) void augment(const float* image, float* out, uint32_t k, int r) {
    alignas(64) uint32_t drawn[16];
    ustore(drawn, hashes(k, 8 * r));
    double u[8];
    for (int i = 0; i < 8; i++) u[i] = (drawn[i] >> 8) * (1.0 / 16777216.0);
    const double H = c.height, W = c.width, angle = c.rotation * (2 * u[2] - 1);
    const double size = std::exp(std::log1p(c.scale) * (1 - 2 * u[3])), side = u[4] < c.flip ? -1 : 1;
    const double cosine = std::cos(angle) * size, sine = std::sin(angle) * size;
    // where column j and row i are read, in pixels
    const double xx = cosine * side, xy = -sine, yx = sine * side, yy = cosine;
    const double mx = (W - 1) / 2, my = (H - 1) / 2;
    const float x0 = mx - xx * mx - xy * my + c.shift * (2 * u[0] - 1) * W, y0 = my - yx * mx - yy * my + c.shift * (2 * u[1] - 1) * H;
    const float ax = xx, bx = xy, ay = yx, by = yy, right = W - 1, bottom = H - 1;
    // what is cut out: its middle and half its side
    const float cx = u[5] * W - 0.5, cy = u[6] * H - 0.5, hx = c.cutout * W / 2, hy = c.cutout * H / 2;
    const int n = (int)across.size(), wide = c.width, high = c.height;
    const float *col = across.data(), *row = down.data();
    int *c00 = corner[0].data(), *c01 = corner[1].data(), *c10 = corner[2].data(), *c11 = corner[3].data();
    float *s00 = share[0].data(), *s01 = share[1].data(), *s10 = share[2].data(), *s11 = share[3].data();
    for (int i = 0; i < n; i++) {
      float x = ax * col[i] + (bx * row[i] + x0), y = ay * col[i] + (by * row[i] + y0);
      x = x < 0.f ? 0.f : x;
      y = y < 0.f ? 0.f : y;
      x = x > right ? right : x;
      y = y > bottom ? bottom : y;
      const int left = (int)x, top = (int)y;
      const int next = left + 1 < wide ? left + 1 : left, under = top + 1 < high ? top + 1 : top;
      const float fx = x - left, fy = y - top, dx = std::fabs(col[i] - cx), dy = std::fabs(row[i] - cy);
      const float there = (dx >= hx) | (dy >= hy) ? 1.f : 0.f;
      c00[i] = top * wide + left;
      c01[i] = top * wide + next;
      c10[i] = under * wide + left;
      c11[i] = under * wide + next;
      s00[i] = there * ((1.f - fx) * (1.f - fy));
      s01[i] = there * (fx * (1.f - fy));
      s10[i] = there * ((1.f - fx) * fy);
      s11[i] = there * (fx * fy);
    }
    for (int colour = 0; colour < c.colours; colour++, image += n, out += n)
      for (int i = 0; i < n; i++)
        out[i] = (image[c00[i]] * s00[i] + image[c01[i]] * s01[i]) + (image[c10[i]] * s10[i] + image[c11[i]] * s11[i]);
  }

  // ------------------------------------------------------------------------------------------------ forward
  // Outputs of the pictures shown, [lanes, outp].
  void forward(bool training, uint32_t step) {
    for (size_t l = 0; l < blocks.size(); l++) {
      Block& y = blocks[l];
      convolve(y.in.data, y.forward, y.w, y.outputs, y.b, y.z.data, y.z.channel);
      if (c.norm) normalise(y);
      const Frame& above = l + 1 < blocks.size() ? blocks[l + 1].in : features;
      c.norm ? pool<true>(y, above) : pool<false>(y, above);
    }
    transpose(features.data, lanes, wide, lanes, h, wide);
    if (training && c.drop) {
      const uint32_t k = key(c.seed, DROPOUT, step);
      for (int r = 0; r < batch; r++)
        for (int j = 0; j < wide; j += 16) {
          const size_t at = (size_t)r * wide + j;
          const V kept = select(below(shr<8>(hashes(k, r * n_features + j)), usplat(c.drop)), splat(0.f), splat(c.drop_scale));
          store(mask + at, kept);
          store(h + at, load(h + at) * kept);
        }
    }
    float* out = this->out;
    const size_t ld = outp;
    product(h, wide, 1, lanes, n_features, w, ld, b, outp, [=](int r, int j, V z) { store(out + r * ld + j, z); });
  }

  // visit(place in a channel of f, the same in one of g) of every pixel, vector v of the batch.
  template <class F>
  static inline void each(const Frame& f, const Frame& g, int v, const F& visit) {
    for (int i = 0; i < f.height; i++)
      for (int j = 0, a = f.at(i, 0) + 16 * v, b = g.at(i, 0) + 16 * v; j < f.width; j++, a += f.batch, b += f.batch)
        visit(a, b);
  }

  // Sums → mean 0 and variance 1 over each picture.
  __attribute__((noinline)) void normalise(Block& y) {
    const V inverse = splat(1.f / (y.outputs * y.z.height * y.z.width));
    for (int v = 0; v < vectors; v++) {
      const size_t next = y.z.channel;
      V s[4], q[4];  // of every fourth channel: a sum waits for the one before it
      for (int i = 0; i < 4; i++) s[i] = q[i] = splat(0.f);
      for (int o = 0; o < y.outputs; o += 4) {
        const float* z = y.z.data + o * next;
        each(y.z, y.z, v, [&](int at, int) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; i++) s[i] = s[i] + load(z + i * next + at);
        });
      }
      const V mean = ((s[0] + s[1]) + (s[2] + s[3])) * inverse;
      for (int o = 0; o < y.outputs; o += 4) {
        const float* z = y.z.data + o * next;
        each(y.z, y.z, v, [&](int at, int) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; i++) {
            const V e = load(z + i * next + at) - mean;
            q[i] = fma(e, e, q[i]);
          }
        });
      }
      const V square = (q[0] + q[1]) + (q[2] + q[3]);
      const V rstd = splat(1.f) / root(fma(square, inverse, splat(1e-5f)));
      memcpy(&y.rstd[16 * v], &rstd, sizeof rstd);
      for (int o = 0; o < y.outputs; o++) {
        float* z = y.z.data + o * next;
        each(y.z, y.z, v, [&](int at, int) { store(z + at, (load(z + at) - mean) * rstd); });
      }
    }
  }

  static inline V positive(V a) { return select(less(a, splat(0.f)), splat(0.f), a); }  // NaN stays NaN
  static inline V larger(V a, V b) { return select(less(a, b), b, a); }

  // What enters the ReLU of a channel: its sums, or these after the norm's scale and shift.
  template <bool NORM>
  struct Entry {
    V gamma, beta;
    Entry(const Block& y, int o) : gamma(splat(NORM ? y.gamma[o] : 1.f)), beta(splat(NORM ? y.beta[o] : 0.f)) {}
    V operator()(const float* z) const { return NORM ? fma(load(z), gamma, beta) : load(z); }
  };

  // ReLU and pooling of the sums into a frame.
  template <bool NORM>
  __attribute__((noinline)) void pool(const Block& y, const Frame& to) {
    const int right = lanes, down = y.z.row;
    for (int o = 0; o < y.outputs; o++) {
      const Entry<NORM> entry(y, o);
      for (int i = 0; i < to.height; i++)
        for (int j = 0; j < to.width; j++) {
          const float* z = y.z.data + (size_t)o * y.z.channel + y.z.at(y.pool * i, y.pool * j);
          float* out = to.data + (size_t)o * to.channel + to.at(i, j);
          if (y.pool == 1)
            for (int v = 0; v < lanes; v += 16) store(out + v, positive(entry(z + v)));
          else if (c.pooling == MAX)
            for (int v = 0; v < lanes; v += 16) {
              const V top = larger(entry(z + v), entry(z + right + v));
              store(out + v, positive(larger(top, larger(entry(z + down + v), entry(z + down + right + v)))));
            }
          else
            for (int v = 0; v < lanes; v += 16) {
              const V top = positive(entry(z + v)) + positive(entry(z + right + v));
              const V low = positive(entry(z + down + v)) + positive(entry(z + down + right + v));
              store(out + v, (top + low) * splat(0.25f));
            }
        }
    }
  }

  // ------------------------------------------------------------------------------------------------ backward
  // All gradients from that of the outputs.
  void backward() {
    float *g_w = g + (w - p), *g_b = g + (b - p), *dh = this->dh;
    const float* mask = this->mask;
    const size_t ld = outp, wide = this->wide;
    product(h, 1, wide, up(n_features, 8), batch, dz, ld, nullptr, outp, [=](int r, int j, V x) { store(g_w + r * ld + j, x); });
    column_sums(dz, batch, outp, [=](int j, V x) { store(g_b + j, x); });
    transpose(w, ld, wide, outp, wt, wide);
    const bool drop = c.drop;
    product(dz, ld, 1, lanes, outputs, wt, wide, nullptr, wide, [=](int r, int j, V x) {
      store(dh + r * wide + j, drop ? x * load(mask + r * wide + j) : x);
    });
    transpose(dh, wide, lanes, wide, d_features.data, lanes);
    for (int l = (int)blocks.size() - 1; l >= 0; l--) {
      Block& y = blocks[l];
      const Frame& above = l + 1 < (int)blocks.size() ? blocks[l + 1].din : d_features;
      c.norm ? unpool<true>(y, above) : unpool<false>(y, above);
      if (c.norm) unnormalise(y);
      weight_gradient(y.dz.data, y.dz.channel, y.at.data(), y.in.data, y.forward, y.outputs, sum, g + (y.w - p));
      bias_gradient(y);
      for (size_t part = 0; l && part < y.backward.size(); part++) {
        const std::vector<int>& weight = y.turned[part];
        for (size_t i = 0; i < weight.size(); i++) turned[i] = y.w[weight[i]];
        convolve(y.dz.data, y.backward[part], turned, y.inputs, nullptr, y.din.data, y.din.channel);
      }
    }
  }

  void bias_gradient(const Block& y) {
    float* g_b = g + (y.b - p);
    const int n = (int)y.at.size();
    for (int o = 0; o < y.outputs; o++) {
      const float* d = y.dz.data + (size_t)o * y.dz.channel;
      V part[4] = {splat(0.f), splat(0.f), splat(0.f), splat(0.f)};
      int t = 0;
      for (; t + 4 <= n; t += 4)
        for (int i = 0; i < 4; i++) part[i] = part[i] + load(d + y.at[t + i]);
      for (; t < n; t++) part[0] = part[0] + load(d + y.at[t]);
      g_b[o] = total((part[0] + part[1]) + (part[2] + part[3]));
    }
  }

  // The gradient d of what a block hands on → that of its sums.
  template <bool NORM>
  __attribute__((noinline)) void unpool(Block& y, const Frame& d) {
    const int right = lanes, down = y.z.row, d_down = y.dz.row;
    const V zero = splat(0.f), quarter = splat(0.25f);
    for (int o = 0; o < y.outputs; o++) {
      const Entry<NORM> entry(y, o);
      float* all = y.dz.data + (size_t)o * y.dz.channel;
      for (int i = 0; i < d.height; i++)
        for (int j = 0; j < d.width; j++) {
          const float* z = y.z.data + (size_t)o * y.z.channel + y.z.at(y.pool * i, y.pool * j);
          const float* in = d.data + (size_t)o * d.channel + d.at(i, j);
          float* out = all + y.dz.at(y.pool * i, y.pool * j);
          if (y.pool == 1)
            for (int v = 0; v < lanes; v += 16) store(out + v, select(less(zero, entry(z + v)), load(in + v), zero));
          else if (c.pooling == MAX)
            for (int v = 0; v < lanes; v += 16) {  // to the first of the largest
              const V z0 = entry(z + v), z1 = entry(z + right + v);
              const V z2 = entry(z + down + v), z3 = entry(z + down + right + v);
              const V top = larger(z0, z1), low = larger(z2, z3), best = larger(top, low);
              const V e = select(less(zero, best), load(in + v), zero);
              const V upper = select(less(top, low), zero, e), lower = select(less(top, low), e, zero);
              store(out + v, select(less(z0, z1), zero, upper));
              store(out + right + v, select(less(z0, z1), upper, zero));
              store(out + d_down + v, select(less(z2, z3), zero, lower));
              store(out + d_down + right + v, select(less(z2, z3), lower, zero));
            }
          else
            for (int v = 0; v < lanes; v += 16) {
              const V e = load(in + v) * quarter;
              store(out + v, select(less(zero, entry(z + v)), e, zero));
              store(out + right + v, select(less(zero, entry(z + right + v)), e, zero));
              store(out + d_down + v, select(less(zero, entry(z + down + v)), e, zero));
              store(out + d_down + right + v, select(less(zero, entry(z + down + right + v)), e, zero));
            }
        }
      // an odd rim belongs to no pool
      for (int i = 0; i < y.dz.height; i++)
        for (int j = i < y.pool * d.height ? y.pool * d.width : 0; j < y.dz.width; j++)
          memset(all + y.dz.at(i, j), 0, lanes * sizeof(float));
    }
  }

  __attribute__((noinline)) void unnormalise(Block& y) {
    float *g_gamma = g + (y.gamma - p), *g_beta = g + (y.beta - p);
    const V inverse = splat(1.f / (y.outputs * y.z.height * y.z.width));
    for (int o = 0; o < y.outputs; o++) g_gamma[o] = g_beta[o] = 0.f;
    for (int v = 0; v < vectors; v++) {
      V sum = splat(0.f), dot = splat(0.f), rstd;
      memcpy(&rstd, &y.rstd[16 * v], sizeof rstd);
      for (int o = 0; o < y.outputs; o++) {
        const float *d = y.dz.data + (size_t)o * y.dz.channel, *normal = y.z.data + (size_t)o * y.z.channel;
        V s = splat(0.f), q = splat(0.f);
        each(y.z, y.dz, v, [&](int at, int there) {
          const V e = load(d + there);
          s = s + e;
          q = fma(e, load(normal + at), q);
        });
        g_beta[o] += total(s);
        g_gamma[o] += total(q);
        sum = fma(s, splat(y.gamma[o]), sum);
        dot = fma(q, splat(y.gamma[o]), dot);
      }
      sum = sum * inverse;
      dot = dot * inverse;
      for (int o = 0; o < y.outputs; o++) {
        float* d = y.dz.data + (size_t)o * y.dz.channel;
        const float* normal = y.z.data + (size_t)o * y.z.channel;
        const V gamma = splat(y.gamma[o]);
        each(y.z, y.dz, v, [&](int at, int there) {
          float* e = d + there;
          store(e, (load(e) * gamma - sum - load(normal + at) * dot) * rstd);
        });
      }
    }
  }

  // ------------------------------------------------------------------------------------------------ learning
  template <int O>
  __attribute__((noinline)) void update(double lr) {
    power1 *= c.beta1;
    power2 *= c.beta2;
    const Update<O> rule(lr, c.weight_decay, c.momentum, c.beta1, c.beta2, power1, power2);
    const V factor = splat(c.clip ? clipping(g, n, c.clip_norm) : 1.f);
    for (size_t i = 0; i < n; i += 16) rule(p + i, m + i, s + i, load(g + i) * factor);
  }

  bool learn(const uint32_t* row, uint32_t step, double lr) {
    gather(row, step);
    forward(true, step);
    if (!loss.gradient(out, row, batch, lanes, dz)) return false;
    backward();
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

  bool evaluate(const Split& t, float& mean, float* score) {
    const auto outputs = [this, &t](int at, int some) {
      show(t.x + (size_t)at * pixels, up(some, 16));
      forward(false, 0);
      return out;
    };
    return loss.evaluate(t, lanes, outputs, mean, score);
  }
};

}  // namespace

extern "C" {

int train(const Data* data, const Config* config, const double* lr, const int32_t* checkpoints, int32_t n_checkpoints,
          float* curve) {
  return train_run<Run>(data, config, lr, checkpoints, n_checkpoints, curve);
}
}
