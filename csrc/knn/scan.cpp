#include "knn/scan.h"

#include <algorithm>

#include "common/scratch.h"
#include "common/threads.h"

namespace alseg {
namespace {

// What a thread keeps from stretch to stretch.
struct Memory {
  KeptMemory panel, scratch, groups, hits;
  std::vector<std::vector<Candidate>> lists;
  std::vector<float> limit, least;
  std::vector<int32_t> first, last;  // rows that a group of queries needs
  std::vector<int32_t> which;
};

class Scanner {
 public:
  Scanner(const KnnRules& rules, const QueryBlock& queries, const Stretch& stretch, Memory& memory, StretchFound& out)
      : rules_(rules), queries_(queries), stretch_(stretch), block_(rules.search.blocks[static_cast<size_t>(stretch.block)]),
        m_(memory), out_(out), group_size_(rules.table.knn_group), group_floats_(rules.dim * rules.table.knn_group) {
    out_.count.assign(static_cast<size_t>(stretch.n_wants), 0);
    out_.visited.assign(static_cast<size_t>(stretch.n_wants), 0);
    out_.reranked.assign(static_cast<size_t>(stretch.n_wants), 0);
    out_.candidates.clear();
    take_limits();
  }

  void run() {
    if (stretch_.n_wants <= kFew) look_at_rows();
    else multiply_panels();
    for (int64_t w = 0; w < stretch_.n_wants; ++w) {
      std::vector<Candidate>& list = m_.lists[static_cast<size_t>(w)];
      out_.count[static_cast<size_t>(w)] = static_cast<int32_t>(list.size());
      out_.candidates.insert(out_.candidates.end(), list.begin(), list.end());
      list.clear();
    }
  }

 private:
  static constexpr int64_t kFew = 3;  // queries for which a panel costs more than it saves

  void take_limits() {
    const int64_t n = stretch_.n_wants;
    m_.limit.resize(static_cast<size_t>(n));
    m_.least.assign(static_cast<size_t>((n + group_size_) / group_size_ * group_size_), 2.0f);  // beyond any product
    if (m_.lists.size() < static_cast<size_t>(n)) m_.lists.resize(static_cast<size_t>(n));
    for (int64_t w = 0; w < n; ++w) {
      m_.limit[static_cast<size_t>(w)] = queries_.limit[static_cast<size_t>(stretch_.wants[w].query)];
      m_.least[static_cast<size_t>(w)] = rules_.least_dot(m_.limit[static_cast<size_t>(w)]);
    }
  }

  // Panels of rows times groups of queries; a group sees the rows that one of its queries needs.
  void multiply_panels() {
    const KernelTable& table = rules_.table;
    float* const panel = m_.panel.room<float>(table.knn_panel_floats(rules_.dim));
    float* const scratch = m_.scratch.room<float>(table.knn_panel_scratch(rules_.dim));
    KnnHit* const hits = m_.hits.room<KnnHit>(table.knn_panel * group_size_ + 1);
    const float* const groups = pack_queries();
    const int64_t n_groups = static_cast<int64_t>(m_.first.size());
    for (int64_t at = 0; at < stretch_.n; at += table.knn_panel) {
      const int64_t n = std::min(table.knn_panel, stretch_.n - at);
      bool packed = false;
      for (int64_t g = 0; g < n_groups; ++g) {
        if (m_.last[static_cast<size_t>(g)] <= at || m_.first[static_cast<size_t>(g)] >= at + n) continue;
        if (!packed) table.knn_pack_panel(block_.rows, stretch_.first + at, n, rules_.search.weights, scratch, panel);
        packed = true;
        const int64_t w0 = g * group_size_, members = std::min(group_size_, stretch_.n_wants - w0);
        for (int64_t w = w0; w < w0 + members; ++w) out_.visited[static_cast<size_t>(w)] += n;
        const int n_hits =
            table.knn_hits(panel, groups + g * group_floats_, rules_.dim, n, m_.least.data() + w0, hits);
        for (int h = 0; h < n_hits; ++h)
          if (hits[h].query < members) take(w0 + hits[h].query, stretch_.first + at + hits[h].row, hits[h].dot);
      }
    }
  }

  float* pack_queries() {
    const int64_t n = stretch_.n_wants, n_groups = (n + group_size_ - 1) / group_size_;
    float* const groups = m_.groups.room<float>(n_groups * group_floats_);
    m_.first.clear();
    m_.last.clear();
    m_.which.resize(static_cast<size_t>(group_size_));
    for (int64_t g = 0; g < n_groups; ++g) {
      const Want* const wants = stretch_.wants + g * group_size_;
      int32_t first = wants[0].first, last = 0;
      const int64_t members = std::min(group_size_, n - g * group_size_);
      for (int64_t i = 0; i < members; ++i) {
        m_.which[static_cast<size_t>(i)] = wants[i].query;
        first = std::min(first, wants[i].first);
        last = std::max(last, wants[i].last);
      }
      m_.first.push_back(first);
      m_.last.push_back(last);
      rules_.table.knn_pack_group(queries_.embedded.data(), rules_.pitch, m_.which.data(), members, rules_.dim,
                                  groups + g * group_floats_);
    }
    return groups;
  }

  // Row by row, those that one of the few queries needs.
  void look_at_rows() {
    const KernelTable& table = rules_.table;
    float* const scratch = m_.scratch.room<float>(table.knn_panel_scratch(rules_.dim));
    KnnHit* const hits = m_.hits.room<KnnHit>(table.knn_panel * kFew + 1);
    int32_t which[kFew];
    int64_t first = stretch_.n, last = 0;
    for (int64_t w = 0; w < stretch_.n_wants; ++w) {
      which[w] = stretch_.wants[w].query;
      first = std::min<int64_t>(first, stretch_.wants[w].first);
      last = std::max<int64_t>(last, std::min<int64_t>(stretch_.n, stretch_.wants[w].last));
    }
    for (int64_t at = first; at < last; at += table.knn_panel) {
      const int64_t n = std::min(table.knn_panel, last - at);
      const int n_hits =
          table.knn_row_hits(block_.rows, stretch_.first + at, n, rules_.search.weights, queries_.embedded.data(),
                             which, stretch_.n_wants, m_.least.data(), scratch, hits);
      for (int h = 0; h < n_hits; ++h) take(hits[h].query, stretch_.first + at + hits[h].row, hits[h].dot);
    }
    for (int64_t w = 0; w < stretch_.n_wants; ++w)
      out_.visited[static_cast<size_t>(w)] += std::max<int64_t>(0, last - first);
  }

  void take(int64_t w, int64_t row, float dot) {
    if (block_.alive && !block_.alive[row]) return;
    const int64_t q = stretch_.wants[w].query;
    const int64_t* const exclude = rules_.search.exclude;
    if (exclude && exclude[queries_.id[static_cast<size_t>(q)]] == block_.key[row]) return;
    float& limit = m_.limit[static_cast<size_t>(w)];
    Candidate found{-dot, -dot, stretch_.block << kRowBits | row};
    if (!rules_.by_dot) {
      const float d = rules_.table.knn_divergence(queries_.mass.data() + q * rules_.pitch, block_.rows, row,
                                                  rules_.search.weights);
      ++out_.reranked[static_cast<size_t>(w)];
      found.lower = d - rules_.error;
      found.upper = d + rules_.error;
    }
    if (found.lower > limit) return;
    std::vector<Candidate>& list = m_.lists[static_cast<size_t>(w)];
    list.push_back(found);
    if (list.size() < rules_.most) return;
    thin_out(rules_, queries_.shares.data() + q * rules_.dim, list, limit, out_.reranked[static_cast<size_t>(w)]);
    m_.least[static_cast<size_t>(w)] = rules_.least_dot(limit);
  }

  const KnnRules& rules_;
  const QueryBlock& queries_;
  const Stretch& stretch_;
  const KnnBlock& block_;
  Memory& m_;
  StretchFound& out_;
  const int64_t group_size_, group_floats_;
};

}  // namespace

void scan_stretch(const KnnRules& rules, const QueryBlock& queries, const Stretch& stretch, StretchFound& out) {
  thread_local Memory memory;
  Scanner(rules, queries, stretch, memory, out).run();
}

void scan_all(const KnnRules& rules, QueryBlock& queries, const std::vector<Stretch>& stretches, int num_threads) {
  std::vector<StretchFound> found(stretches.size());
  parallel_for(static_cast<int64_t>(stretches.size()), num_threads, [&](int64_t i) {
    scan_stretch(rules, queries, stretches[static_cast<size_t>(i)], found[static_cast<size_t>(i)]);
  });
  for (size_t i = 0; i < stretches.size(); ++i) {
    auto from = found[i].candidates.begin();
    for (int64_t w = 0; w < stretches[i].n_wants; ++w) {
      const size_t at = static_cast<size_t>(w), q = static_cast<size_t>(stretches[i].wants[w].query);
      queries.visited[q] += found[i].visited[at];
      queries.reranked[q] += found[i].reranked[at];
      const auto to = from + found[i].count[at];
      queries.found[q].insert(queries.found[q].end(), from, to);
      from = to;
    }
  }
  constexpr int64_t kStep = 16;
  parallel_for((queries.n + kStep - 1) / kStep, num_threads, [&](int64_t chunk) {
    for (int64_t i = chunk * kStep; i < std::min((chunk + 1) * kStep, queries.n); ++i) {
      const size_t q = static_cast<size_t>(i);
      thin_out(rules, queries.shares.data() + i * rules.dim, queries.found[q], queries.limit[q], queries.reranked[q]);
    }
  });
}

}  // namespace alseg
