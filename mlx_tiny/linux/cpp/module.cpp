// The operations as nodes of MLX's graph on a CPU, and their names in Python. A node computes on the thread of its stream.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <functional>

#include "attention.h"
#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/mlx.h"
#include "mlx/primitives.h"
#include "rows.h"

namespace nb = nanobind;
namespace mx = mlx::core;
using Arrays = std::vector<mx::array>;

namespace {

// A node that computes its outputs, new arrays of float32 in row-major order, from its inputs by a function.
class Node : public mx::Primitive {
 public:
  using Function = std::function<void(const Arrays&, std::vector<float*>)>;

  Node(mx::Stream stream, const char* name, Function function)
      : mx::Primitive(stream), name_(name), function_(std::move(function)) {}

  void eval_cpu(const Arrays& inputs, Arrays& outputs) override {
    auto& encoder = mx::cpu::get_command_encoder(stream());
    std::vector<float*> results;
    for (auto& output : outputs) {
      output.set_data(mx::allocator::malloc(output.nbytes()));
      encoder.set_output_array(output);
      results.push_back(output.data<float>());
    }
    Arrays kept;
    for (const auto& input : inputs) {
      encoder.set_input_array(input);
      kept.push_back(mx::array::unsafe_weak_copy(input));
    }
    encoder.dispatch([function = function_, kept, results]() { function(kept, results); });
  }

  void eval_gpu(const Arrays&, Arrays&) override {
    throw std::runtime_error("This operation is for a CPU only.");
  }

  const char* name() const override {
    return name_;
  }

 private:
  const char* name_;
  Function function_;
};

Arrays made(const char* name, std::vector<mx::Shape> shapes, Arrays inputs, Node::Function function) {
  auto node = std::make_shared<Node>(mx::default_stream(mx::Device::cpu), name, std::move(function));
  const std::vector<mx::Dtype> dtypes(shapes.size(), mx::float32);
  return mx::array::make_arrays(std::move(shapes), dtypes, node, std::move(inputs));
}

tiny::Heads heads(const mx::array& a) {
  const auto& s = a.strides();
  return {a.data<float>(), s[0], s[1], s[2], s[3]};
}

tiny::Shape shape_of(const mx::array& query, const mx::array& key) {
  return {query.shape(0), query.shape(1), query.shape(2), key.shape(2), query.shape(3)};
}

Arrays attention(const mx::array& query, const mx::array& key, const mx::array& value, float scale) {
  const auto s = shape_of(query, key);
  return made(
      "attention", {query.shape(), {int(s.B), int(s.H), int(s.T), 2}}, {query, key, value},
      [s, scale](const Arrays& in, std::vector<float*> out) {
        tiny::attend(s, scale, heads(in[0]), heads(in[1]), heads(in[2]), out[0], out[1]);
      });
}

// `output` and `softmax` are those of `attention`, in row-major order as it wrote them.
Arrays attention_gradient(
    const mx::array& query, const mx::array& key, const mx::array& value, const mx::array& output,
    const mx::array& softmax, const mx::array& cotangent, float scale) {
  const auto s = shape_of(query, key);
  return made(
      "attention_gradient", {query.shape(), key.shape(), key.shape()}, {query, key, value, output, softmax, cotangent},
      [s, scale](const Arrays& in, std::vector<float*> out) {
        tiny::attention_gradient(
            s, scale, heads(in[0]), heads(in[1]), heads(in[2]), in[3].data<float>(), in[4].data<float>(), heads(in[5]),
            out[0], out[1], out[2]);
      });
}

tiny::Rows rows_of(const mx::array& a) {
  const auto& s = a.strides();
  return {a.data<float>(), a.shape(0), a.shape(1), a.shape(2), a.shape(3), s[0], s[1], s[2], s[3]};
}

Arrays turn(
    const mx::array& x, const mx::array& weight, const mx::array& cosine, const mx::array& sine, float epsilon) {
  return made("turn", {x.shape()}, {x, weight, cosine, sine}, [epsilon](const Arrays& in, std::vector<float*> out) {
    tiny::turn(rows_of(in[0]), epsilon, in[1].data<float>(), in[2].data<float>(), in[3].data<float>(), out[0]);
  });
}

Arrays turn_gradient(
    const mx::array& x, const mx::array& weight, const mx::array& cosine, const mx::array& sine,
    const mx::array& cotangent, float epsilon) {
  return made(
      "turn_gradient", {x.shape(), weight.shape()}, {x, weight, cosine, sine, cotangent},
      [epsilon](const Arrays& in, std::vector<float*> out) {
        tiny::turn_gradient(
            rows_of(in[0]), epsilon, in[1].data<float>(), in[2].data<float>(), in[3].data<float>(), rows_of(in[4]),
            out[0], out[1]);
      });
}

long rows(const mx::array& x) {
  return long(x.size()) / x.shape(-1);
}

mx::Shape one_per_row(const mx::array& x) {
  auto shape = x.shape();
  shape.back() = 1;
  return shape;
}

Arrays normalize(const mx::array& x, float epsilon) {
  return made("normalize", {x.shape(), one_per_row(x)}, {x}, [epsilon](const Arrays& in, std::vector<float*> out) {
    tiny::normalize(rows(in[0]), in[0].shape(-1), epsilon, in[0].data<float>(), out[0], out[1]);
  });
}

Arrays norm_gradient(const mx::array& y, const mx::array& factors, const mx::array& cotangent) {
  return made("norm_gradient", {y.shape()}, {y, factors, cotangent}, [](const Arrays& in, std::vector<float*> out) {
    tiny::norm_gradient(
        rows(in[0]), in[0].shape(-1), in[0].data<float>(), in[1].data<float>(), in[2].data<float>(), out[0]);
  });
}

Arrays swiglu(const mx::array& x) {
  auto shape = x.shape();
  shape.back() /= 2;
  return made("swiglu", {shape}, {x}, [](const Arrays& in, std::vector<float*> out) {
    tiny::swiglu(rows(in[0]), in[0].shape(-1) / 2, in[0].data<float>(), out[0]);
  });
}

Arrays swiglu_gradient(const mx::array& x, const mx::array& cotangent) {
  return made("swiglu_gradient", {x.shape()}, {x, cotangent}, [](const Arrays& in, std::vector<float*> out) {
    tiny::swiglu_gradient(
        rows(in[0]), in[0].shape(-1) / 2, in[0].data<float>(), in[1].data<float>(), out[0]);
  });
}

Arrays squared_relu(const mx::array& x) {
  return made("squared_relu", {x.shape()}, {x}, [](const Arrays& in, std::vector<float*> out) {
    tiny::squared_relu(in[0].size(), in[0].data<float>(), out[0]);
  });
}

Arrays squared_relu_gradient(const mx::array& x, const mx::array& cotangent) {
  return made("squared_relu_gradient", {x.shape()}, {x, cotangent}, [](const Arrays& in, std::vector<float*> out) {
    tiny::squared_relu_gradient(in[0].size(), in[0].data<float>(), in[1].data<float>(), out[0]);
  });
}

// cblas_sgemm of the BLAS that MLX uses, with sizes of 32 bits.
using Product = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
Product product = nullptr;
constexpr int ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112;
// Rows of logits that are computed at once, and are in the cache still when their exponentials are taken.
constexpr long CHUNK = 64;

// Losses [N]; exp(z - max) less the row sum at the target [N, V]; row sums [N, 1].
Arrays cross_entropy(const mx::array& hidden, const mx::array& head, const mx::array& target) {
  const int N = hidden.shape(0), V = head.shape(0), D = hidden.shape(1);
  return made(
      "cross_entropy", {{N}, {N, V}, {N, 1}}, {hidden, head, target},
      [N, V, D](const Arrays& in, std::vector<float*> out) {
        const auto targets = in[2].data<int32_t>();
        for (long first = 0; first < N; first += CHUNK) {
          const long count = std::min<long>(CHUNK, N - first);
          product(
              ROW_MAJOR, AS_IT_IS, TRANSPOSED, count, V, D, 1, in[0].data<float>() + first * D, D, in[1].data<float>(),
              D, 0, out[1] + first * V, V);
          for (long r = first; r < first + count; ++r) {
            float *z = out[1] + r * V, top;
            const float logit = z[targets[r]], total = tiny::exponentials(V, z, &top);
            out[0][r] = std::log(total) + top - logit;
            out[2][r] = total;
            z[targets[r]] -= total;
          }
        }
      });
}

}  // namespace

NB_MODULE(tiny_native, m) {
  nb::module_::import_("mlx.core");
  m.def("use_product", [](size_t address) { product = reinterpret_cast<Product>(address); });
  m.def("attention", &attention);
  m.def("attention_gradient", &attention_gradient);
  m.def("turn", &turn);
  m.def("turn_gradient", &turn_gradient);
  m.def("normalize", &normalize);
  m.def("norm_gradient", &norm_gradient);
  m.def("swiglu", &swiglu);
  m.def("swiglu_gradient", &swiglu_gradient);
  m.def("squared_relu", &squared_relu);
  m.def("squared_relu_gradient", &squared_relu_gradient);
  m.def("cross_entropy", &cross_entropy);
}
