#include "slic/merge.h"

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "common/threads.h"

namespace alseg {
namespace {

int32_t find_root(int32_t* parent, int32_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

// The root of a set is its smallest member, so that numbering roots in order numbers sets by their first pixel.
int32_t unite(int32_t* parent, int32_t a, int32_t b) {
  a = find_root(parent, a);
  b = find_root(parent, b);
  return a < b ? parent[b] = a : parent[a] = b;
}

int64_t run_end(const SlicJob& job, int64_t y, int64_t i) {
  return i + 1 < job.row_runs[2 * y + 1] ? job.runs[i + 1].x : job.width;
}

// Unites the runs of row y with those of the same cluster above.
void join_above(const SlicJob& job, int32_t* parent, int64_t y) {
  int32_t above = job.row_runs[2 * y - 2], here = job.row_runs[2 * y];
  const int32_t above_end = job.row_runs[2 * y - 1], here_end = job.row_runs[2 * y + 1];
  while (above < above_end && here < here_end) {
    if (job.runs[above].cluster == job.runs[here].cluster && job.runs[here].cluster >= 0) unite(parent, above, here);
    const int64_t a = run_end(job, y - 1, above), b = run_end(job, y, here);
    above += a <= b;
    here += b <= a;
  }
}

constexpr size_t kKeepAtMost = size_t{1} << 22;  // components and edges

struct Edge {
  int32_t to;      // component
  int32_t length;  // pixel edges
  int32_t next;    // of the same component, or -1
};

// Components and, through `parent`, the groups that they are merged into.
struct Groups {
  SlicJob job;
  const int32_t* component;              // of each run
  std::vector<int32_t> area, cluster, parent;
  std::vector<Edge> edges;               // of the components that lie in groups of less than edges_below pixels
  std::vector<int32_t> first_edge;       // [components] or -1
  int64_t edges_below = 0;
  std::vector<int32_t> next, last;       // chain of the components of a group
  std::vector<int32_t> border;           // [components] of the group being looked at
  std::vector<int32_t> touched, small, target;
  std::vector<uint8_t> is_small;

  void list_edges(int64_t below) {
    edges_below = below;
    edges.clear();
    first_edge.assign(area.size(), -1);
    is_small.resize(area.size());
    for (size_t c = 0; c < area.size(); ++c)
      is_small[c] = area[find_root(parent.data(), static_cast<int32_t>(c))] < below;
    // What two runs share adds to what the runs before them shared, most of the time.
    const auto add = [&](int32_t from, int32_t to, int32_t length) {
      const int32_t last = first_edge[from];
      if (last >= 0) {
        if (edges[last].to == to) return void(edges[last].length += length);
        const int32_t before = edges[last].next;
        if (before >= 0 && edges[before].to == to) return void(edges[before].length += length);
      }
      edges.push_back({to, length, first_edge[from]});
      first_edge[from] = static_cast<int32_t>(edges.size()) - 1;
    };
    const auto touch = [&](int32_t a, int32_t b, int64_t length) {
      if (a == b || a < 0 || b < 0) return;
      if (is_small[a]) add(a, b, static_cast<int32_t>(length));
      if (is_small[b]) add(b, a, static_cast<int32_t>(length));
    };
    for (int64_t y = 0; y < job.height; ++y) {
      const int32_t begin = job.row_runs[2 * y], end = job.row_runs[2 * y + 1];
      for (int32_t i = begin + 1; i < end; ++i) touch(component[i - 1], component[i], 1);
      if (y == 0) continue;
      int32_t above = job.row_runs[2 * y - 2], here = begin;
      int64_t x = 0, above_stop = run_end(job, y - 1, above), here_stop = run_end(job, y, here);
      while (x < job.width) {
        const int64_t stop = std::min(above_stop, here_stop);
        touch(component[above], component[here], stop - x);
        x = stop;
        if (x == job.width) break;
        if (above_stop == x) above_stop = run_end(job, y - 1, ++above);
        if (here_stop == x) here_stop = run_end(job, y, ++here);
      }
    }
  }

  int64_t difference(int32_t a, int32_t b) const {
    const SlicCentre &p = job.centres[cluster[a]], &q = job.centres[cluster[b]];
    int64_t sum = 0;
    for (int c = 0; c < 3; ++c) sum += std::abs(p.color[c] - q.color[c]);
    return sum;
  }

  // The neighbour that `group` is to be merged into, or -1.
  int32_t best_neighbour(int32_t group) {
    const int32_t only = first_edge[group];
    if (next[group] < 0 && only >= 0 && edges[only].next < 0) {
      const int32_t other = find_root(parent.data(), edges[only].to);
      return other == group ? -1 : other;
    }
    for (int32_t c = group; c >= 0; c = next[c]) {
      for (int32_t e = first_edge[c]; e >= 0; e = edges[e].next) {
        const int32_t other = find_root(parent.data(), edges[e].to);
        if (other == group) continue;
        if (border[other] == 0) touched.push_back(other);
        border[other] += edges[e].length;
      }
    }
    int32_t best = -1;
    int64_t best_difference = 0, best_border = 0;
    for (const int32_t other : touched) {
      const int64_t d = difference(group, other), length = border[other];
      border[other] = 0;
      // The least d^2 / length: like colours first, and of these the one that closes the longest edge.
      const int64_t cost = d * d * best_border, best_cost = best_difference * best_difference * length;
      if (best >= 0 && (cost > best_cost || (cost == best_cost && other > best))) continue;
      best = other;
      best_difference = d;
      best_border = length;
    }
    touched.clear();
    return best;
  }

  // Unites groups of less than min_area pixels with a neighbour, in rounds, until none has one; whether any was.
  bool merge_small(int64_t min_area) {
    small.clear();
    bool any = false;
    for (size_t c = 0; c < area.size(); ++c)
      if (parent[c] == static_cast<int32_t>(c) && area[c] < min_area) small.push_back(static_cast<int32_t>(c));
    for (bool merged = true; merged; any |= merged) {
      merged = false;
      target.clear();
      for (const int32_t group : small) target.push_back(best_neighbour(group));
      for (size_t i = 0; i < small.size(); ++i) {
        if (target[i] < 0) continue;
        const int32_t a = find_root(parent.data(), small[i]), b = find_root(parent.data(), target[i]);
        if (a == b) continue;
        const int32_t root = unite(parent.data(), a, b), child = root == a ? b : a;
        area[root] += area[child];
        next[last[root]] = child;
        last[root] = last[child];
        merged = true;
      }
      size_t kept = 0;
      for (const int32_t group : small)
        if (parent[group] == group && area[group] < min_area) small[kept++] = group;
      small.resize(kept);
    }
    return any;
  }
};

// Numbers the components of all runs by their first run; fills area and cluster.
void number_components(const SlicJob& job, int32_t* component, Groups* groups) {
  for (int64_t y = 0; y < job.height; ++y) {
    for (int64_t i = job.row_runs[2 * y]; i < job.row_runs[2 * y + 1]; ++i) {
      const SlicRun& run = job.runs[i];
      if (run.cluster < 0) {
        component[i] = -1;
        continue;
      }
      // A parent comes before its children, so it is numbered already.
      if (component[i] == i) {
        component[i] = static_cast<int32_t>(groups->area.size());
        groups->area.push_back(0);
        groups->cluster.push_back(run.cluster);
      } else {
        component[i] = component[component[i]];
      }
      groups->area[component[i]] += static_cast<int32_t>(run_end(job, y, i) - run.x);
    }
  }
}

// Merges what is smaller than min_area; then, as long as more than `most` groups are left, all but the largest ones.
void merge_to_number(Groups* g, int64_t min_area, int64_t most) {
  std::vector<int32_t> areas;
  for (bool first = true;; first = false) {
    // The edges of some more groups serve the second turn too.
    if (min_area > g->edges_below) g->list_edges(first ? 2 * min_area : min_area);
    const bool merged = g->merge_small(min_area);
    areas.clear();
    for (size_t c = 0; c < g->area.size(); ++c)
      if (g->parent[c] == static_cast<int32_t>(c)) areas.push_back(g->area[c]);
    if (static_cast<int64_t>(areas.size()) <= most || (!merged && !first)) return;
    std::nth_element(areas.begin(), areas.begin() + most, areas.end(), std::greater<int32_t>());
    min_area = areas[most] + 1;
  }
}

}  // namespace

void merge_segments(SlicMerge* merge, int num_threads) {
  const SlicJob& job = *merge->job;
  int32_t* const component = merge->component;
  parallel_for(job.n_bands, num_threads, [&](int64_t band) {
    for (int64_t y = job.band_rows[band]; y < job.band_rows[band + 1]; ++y) {
      for (int32_t i = job.row_runs[2 * y]; i < job.row_runs[2 * y + 1]; ++i) component[i] = i;
      if (y > job.band_rows[band]) join_above(job, component, y);
    }
  });
  for (int64_t band = 1; band < job.n_bands; ++band) join_above(job, component, job.band_rows[band]);
  // Kept for the next image: fresh pages cost more than what is done with them.
  thread_local Groups groups;
  groups.job = job;
  groups.component = component;
  groups.edges_below = 0;
  groups.area.clear();
  groups.cluster.clear();
  number_components(job, component, &groups);
  const size_t n = groups.area.size();
  groups.parent.resize(n);
  for (size_t c = 0; c < n; ++c) groups.parent[c] = static_cast<int32_t>(c);
  groups.last = groups.parent;
  groups.next.assign(n, -1);
  groups.border.assign(n, 0);
  merge_to_number(&groups, merge->min_area, merge->most);
  merge->final_id.assign(n, -1);
  merge->n_segments = 0;
  for (size_t c = 0; c < n; ++c) {
    const int32_t root = find_root(groups.parent.data(), static_cast<int32_t>(c));
    if (merge->final_id[root] < 0) merge->final_id[root] = static_cast<int32_t>(merge->n_segments++);
    merge->final_id[c] = merge->final_id[root];
  }
  if (n + groups.edges.size() > kKeepAtMost) groups = Groups{};
}

}  // namespace alseg
