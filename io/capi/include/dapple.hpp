/* dapple.hpp: dapple.h for C++17, with callables instead of functions and arguments, and with the
 * names of libasync.
 *
 *     dapple::runtime rt;
 *     dapple::color counter(rt, "counter");
 *     counter.post([] { std::puts("not at the same time as anything else of this color"); });
 *     rt.wait_idle();
 *
 * A callable is moved to the heap. It is deleted on its color, after its call or when it can no
 * longer be called. It is never copied, so it may own what it uses.
 *
 * A function that fails throws std::system_error; in a program without exceptions it ends the
 * process with a message. An exception that leaves a callable ends the process.
 *
 * dapple::async has libasync's names, for programs that were written for it: amain, delaycb,
 * timecb, timecb_remove, fdcb, sigcb, and libasync-smp's cpucb and cwrap. They use one runtime,
 * whose first worker is the thread that calls amain. Callables run on that thread, except those to
 * which cwrap gives a color, which run on any worker. */
#ifndef DAPPLE_HPP
#define DAPPLE_HPP

#include <dapple.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace dapple {

/** A file and line of the program, which reports name. By default, those of the call. */
struct site {
    const char *file;
    int line;

    static constexpr site here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {file, line};
    }
};

namespace detail {

[[noreturn]] inline void fail(const char *call) {
#ifdef __cpp_exceptions
    throw std::system_error(errno, std::generic_category(), call);
#else
    std::fprintf(stderr, "dapple: %s: %s\n", call, std::strerror(errno));
    std::abort();
#endif
}

inline void check(int answer, const char *call) {
    if (answer < 0) fail(call);
}

template <class P> P *check(P *answer, const char *call) {
    if (!answer) fail(call);
    return answer;
}

/* The functions that C calls. They are noexcept, so an exception in a callable ends the process. */
template <class F> void run(void *callable) noexcept { (*static_cast<F *>(callable))(); }
template <class F> void tell(int what, void *callable) noexcept {
    if constexpr (std::is_invocable_v<F &, int>) (*static_cast<F *>(callable))(what);
    else (*static_cast<F *>(callable))();
}
template <class F> void drop(void *callable) noexcept { delete static_cast<F *>(callable); }

/* A callable on the heap, which this owns until a call of C succeeds and takes it over. */
template <class F> class boxed {
  public:
    using type = std::decay_t<F>;
    explicit boxed(F &&f) : callable(new type(std::forward<F>(f))) {}
    type *get() const { return callable.get(); }
    void given() { callable.release(); }

  private:
    std::unique_ptr<type> callable;
};

inline std::uint64_t nanoseconds(std::chrono::nanoseconds time) {
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

}  // namespace detail

/** The options of a runtime; see dapple_options. */
struct options {
    unsigned workers = 0;
    bool here = false;
    bool unpinned = false;
    unsigned offload_threads = 0;
    const char *thread_name = nullptr;
    std::chrono::nanoseconds stall{};
};

/** The options of a color; see dapple_color_options. */
struct color_options {
    const char *label = nullptr;
    int priority = DAPPLE_NORMAL;
    bool bound = false;
    std::size_t capacity = 0;
};

class color;

/** A runtime; see dapple_runtime_new. Its destructor waits for no callback: call shutdown first. */
class runtime {
  public:
    explicit runtime(const options &asked = {}) {
        dapple_options plain{};
        plain.size = sizeof plain;
        plain.workers = asked.workers;
        plain.flags = (asked.here ? DAPPLE_HERE : 0) | (asked.unpinned ? DAPPLE_UNPINNED : 0);
        plain.offload_threads = asked.offload_threads;
        plain.thread_name = asked.thread_name;
        plain.stall_ns = detail::nanoseconds(asked.stall);
        raw = detail::check(dapple_runtime_new(&plain), "dapple_runtime_new");
    }
    runtime(const runtime &) = delete;
    runtime &operator=(const runtime &) = delete;
    ~runtime() {
        if (raw) dapple_runtime_free(raw, 0);
    }

    dapple_runtime *get() const { return raw; }
    void run() { detail::check(dapple_runtime_run(raw), "dapple_runtime_run"); }
    void stop() { detail::check(dapple_runtime_stop(raw), "dapple_runtime_stop"); }
    void wait_idle() { detail::check(dapple_runtime_wait_idle(raw), "dapple_runtime_wait_idle"); }
    int workers() const { return dapple_runtime_workers(raw); }

    /** Runs one turn, and waits for at most the given time; a negative time has no limit. */
    int turn(std::chrono::nanoseconds timeout) {
        int ran = dapple_runtime_turn(raw, timeout.count());
        detail::check(ran, "dapple_runtime_turn");
        return ran;
    }

    /** Ends the runtime. Returns true if everything has run. */
    bool shutdown(std::chrono::nanoseconds limit) {
        int left = dapple_runtime_free(raw, detail::nanoseconds(limit));
        detail::check(left, "dapple_runtime_free");
        raw = nullptr;
        return left == 0;
    }

    /** Calls f without a color. */
    template <class F> void post_uncolored(F &&f, site at = site::here()) {
        detail::boxed<F> box(std::forward<F>(f));
        using T = typename detail::boxed<F>::type;
        detail::check(dapple_post_uncolored_from(raw, detail::run<T>, box.get(), detail::drop<T>,
                                                 at.file, at.line),
                      "dapple_post_uncolored");
        box.given();
    }

    color default_color() const;
    color color_of_key(const void *key, std::size_t length) const;

  private:
    dapple_runtime *raw;
};

/** A timer that may be cancelled. Its destructor does not cancel it. */
class timer {
  public:
    timer() = default;
    explicit timer(dapple_timer *made) : raw(made) {}

    /** Returns true if the callable is not called, or no longer called; see dapple_timer_cancel. */
    bool cancel() { return raw && dapple_timer_cancel(raw.release()) == 1; }

  private:
    struct free_it {
        void operator()(dapple_timer *it) const { dapple_timer_free(it); }
    };
    std::unique_ptr<dapple_timer, free_it> raw;
};

/** A callable that is called for a descriptor or a signal, until this object is destroyed. */
class watch {
  public:
    watch() = default;
    explicit watch(dapple_watch *made) : raw(made) {}

    void pause() { detail::check(dapple_watch_pause(raw.get()), "dapple_watch_pause"); }
    void resume() { detail::check(dapple_watch_resume(raw.get()), "dapple_watch_resume"); }
    void set_interest(int interest) {
        detail::check(dapple_watch_set_interest(raw.get(), interest), "dapple_watch_set_interest");
    }
    void end() { raw.reset(); }

  private:
    struct end_it {
        void operator()(dapple_watch *it) const { dapple_watch_end(it); }
    };
    std::unique_ptr<dapple_watch, end_it> raw;
};

/** A color. Copies are the same color. */
class color {
  public:
    color(const runtime &rt, const color_options &asked) {
        dapple_color_options plain{};
        plain.size = sizeof plain;
        plain.label = asked.label;
        plain.priority = asked.priority;
        plain.flags = asked.bound ? DAPPLE_BOUND : 0;
        plain.capacity = asked.capacity;
        raw = detail::check(dapple_runtime_color_new(rt.get(), &plain), "dapple_runtime_color_new");
    }
    explicit color(const runtime &rt, const char *label = nullptr)
        : color(rt, [label] {
              color_options asked;
              asked.label = label;
              return asked;
          }()) {}
    /** Takes over the caller's reference. */
    explicit color(dapple_color *counted) : raw(counted) {}
    color(const color &other) : raw(dapple_color_ref(other.raw)) {}
    color(color &&other) noexcept : raw(std::exchange(other.raw, nullptr)) {}
    color &operator=(color other) noexcept {
        std::swap(raw, other.raw);
        return *this;
    }
    ~color() { dapple_color_unref(raw); }

    dapple_color *get() const { return raw; }
    bool is_current() const { return dapple_color_is_current(raw) == 1; }
    friend bool operator==(const color &a, const color &b) { return a.raw == b.raw; }
    friend bool operator!=(const color &a, const color &b) { return a.raw != b.raw; }

    /** Calls f on the color, after what was posted to it before. */
    template <class F> void post(F &&f, site at = site::here()) const {
        give(dapple_post_from, std::forward<F>(f), at, "dapple_post");
    }

    /** Calls f on the color, where it may overlap others that are posted in this way. */
    template <class F> void post_shared(F &&f, site at = site::here()) const {
        give(dapple_post_shared_from, std::forward<F>(f), at, "dapple_post_shared");
    }

    /** Posts f. Returns false if the color is full; f is then deleted. */
    template <class F> bool try_post(F &&f, site at = site::here()) const {
        detail::boxed<F> box(std::forward<F>(f));
        using T = typename detail::boxed<F>::type;
        int answer = dapple_try_post_from(raw, detail::run<T>, box.get(), detail::drop<T>, at.file,
                                          at.line);
        if (answer < 0 && errno == EAGAIN) return false;
        detail::check(answer, "dapple_try_post");
        box.given();
        return true;
    }

    /** Calls f on the color after a time. */
    template <class F>
    timer post_after(std::chrono::nanoseconds delay, F &&f, site at = site::here()) const {
        return arm(dapple_post_after_from, delay, std::forward<F>(f), at, "dapple_post_after");
    }

    /** Calls f on the color once per period. */
    template <class F>
    timer every(std::chrono::nanoseconds period, F &&f, site at = site::here()) const {
        return arm(dapple_every_from, period, std::forward<F>(f), at, "dapple_every");
    }

    /** Calls f while the descriptor is ready. f may take a parameter: what it is ready for. */
    template <class F>
    watch on_ready(int descriptor, int interest, F &&f, site at = site::here()) const {
        detail::boxed<F> box(std::forward<F>(f));
        using T = typename detail::boxed<F>::type;
        watch made(detail::check(
            dapple_on_ready_from(raw, descriptor, interest, detail::tell<T>, box.get(),
                                 detail::drop<T>, at.file, at.line),
            "dapple_on_ready"));
        box.given();
        return made;
    }

    /** Calls f when the process gets the signal. f may take a parameter, its number. */
    template <class F> watch on_signal(int signal, F &&f, site at = site::here()) const {
        detail::boxed<F> box(std::forward<F>(f));
        using T = typename detail::boxed<F>::type;
        watch made(detail::check(dapple_on_signal_from(raw, signal, detail::tell<T>, box.get(),
                                                       detail::drop<T>, at.file, at.line),
                                 "dapple_on_signal"));
        box.given();
        return made;
    }

    /** Calls work on the blocking pool, and after that calls then on the color. */
    template <class W, class T> void offload(W &&work, T &&then, site at = site::here()) const {
        struct both {
            std::decay_t<W> work;
            std::decay_t<T> then;
            static void works(void *both_) noexcept { static_cast<both *>(both_)->work(); }
            static void thens(void *both_) noexcept { static_cast<both *>(both_)->then(); }
        };
        auto box = std::make_unique<both>(both{std::forward<W>(work), std::forward<T>(then)});
        detail::check(dapple_offload_from(raw, both::works, both::thens, box.get(),
                                          detail::drop<both>, at.file, at.line),
                      "dapple_offload");
        box.release();
    }

  private:
    template <class Call, class F>
    void give(Call posts, F &&f, site at, const char *call) const {
        detail::boxed<F> box(std::forward<F>(f));
        using T = typename detail::boxed<F>::type;
        detail::check(posts(raw, detail::run<T>, box.get(), detail::drop<T>, at.file, at.line),
                      call);
        box.given();
    }

    template <class Call, class F>
    timer arm(Call arms, std::chrono::nanoseconds time, F &&f, site at, const char *call) const {
        detail::boxed<F> box(std::forward<F>(f));
        using T = typename detail::boxed<F>::type;
        dapple_timer *made = nullptr;
        detail::check(arms(raw, detail::nanoseconds(time), detail::run<T>, box.get(),
                          detail::drop<T>, &made, at.file, at.line),
                      call);
        box.given();
        return timer(made);
    }

    dapple_color *raw;
};

inline color runtime::default_color() const {
    return color(detail::check(dapple_runtime_default_color(raw), "dapple_runtime_default_color"));
}

inline color runtime::color_of_key(const void *key, std::size_t length) const {
    return color(detail::check(dapple_runtime_color_of_key(raw, key, length),
                               "dapple_runtime_color_of_key"));
}

/** A color of a set, and the access to it that is needed. */
struct access {
    const color &of;
    bool shared = false;
};

/** Calls f with access to all these colors. */
template <class F>
void post_set(std::initializer_list<access> colors, F &&f, site at = site::here()) {
    std::vector<dapple_access> plain;
    for (const access &one : colors) plain.push_back({one.of.get(), one.shared});
    detail::boxed<F> box(std::forward<F>(f));
    using T = typename detail::boxed<F>::type;
    detail::check(dapple_post_set_from(plain.data(), plain.size(), detail::run<T>, box.get(),
                                       detail::drop<T>, at.file, at.line),
                  "dapple_post_set");
    box.given();
}

/** libasync's names. */
namespace async {

/** The readiness of a descriptor to wait for. */
enum selop { selread = DAPPLE_READABLE, selwrite = DAPPLE_WRITABLE };

/** A timer of delaycb or timecb. timecb_remove accepts it until its callable is called. */
class timecb_t {
  public:
    timecb_t() = default;
    timecb_t(const timecb_t &) = delete;
    ~timecb_t() {
        dapple_timer *left = take();
        if (left) dapple_timer_free(left);
    }

    /* The handle is there, unless the callable has been called already. */
    void armed(dapple_timer *made) {
        dapple_timer *nothing = nullptr;
        if (!handle.compare_exchange_strong(nothing, made)) dapple_timer_free(made);
    }
    /* Returns the handle to the first caller, and null to later ones. */
    dapple_timer *take() {
        dapple_timer *had = handle.exchange(taken());
        return had == taken() ? nullptr : had;
    }

  private:
    static dapple_timer *taken() { return reinterpret_cast<dapple_timer *>(1); }
    std::atomic<dapple_timer *> handle{nullptr};
};

/** The runtime of these functions. The first use creates it, and must be on the thread that calls
 * amain. */
inline runtime &the_runtime() {
    static runtime &rt = *new runtime([] {
        options asked;
        asked.here = true;
        return asked;
    }());
    return rt;
}

namespace detail {

/* The registrations: one callable for each descriptor and selop, and for each signal. */
class watches {
  public:
    enum { a_signal = 0 };

    static watches &all() {
        static watches &all = *new watches;
        return all;
    }
    /* Under the lock, so that a callable that removes itself comes after this. The watch
     * that was there before ends without the lock, as its callable may come back here when it is
     * deleted. */
    template <class Make> void set(int key, int kind, Make make) {
        watch before;
        {
            std::lock_guard<std::mutex> locked(lock);
            watch made = make();
            before = std::exchange(of[{key, kind}], std::move(made));
        }
    }
    void clear(int key, int kind) {
        watch before;
        {
            std::lock_guard<std::mutex> locked(lock);
            auto found = of.find({key, kind});
            if (found == of.end()) return;
            before = std::move(found->second);
            of.erase(found);
        }
    }

  private:
    std::mutex lock;
    std::map<std::pair<int, int>, watch> of;
};

}  // namespace detail

/** Runs callbacks until the_runtime() is stopped. */
inline void amain() { the_runtime().run(); }

/** A callable with a color, made by cwrap. */
template <class F> struct colored {
    F cb;
    color on;
};

/** Gives a callable a color: it is called on that color instead of on the thread of amain. */
template <class F> colored<std::decay_t<F>> cwrap(F &&cb, const color &on) {
    return {std::forward<F>(cb), on};
}

namespace detail {

template <class F> struct is_colored : std::false_type {};
template <class F> struct is_colored<colored<F>> : std::true_type {};

/* Calls f with a callable and its color. */
template <class F, class Then> auto with_color(F &&cb, Then then) {
    if constexpr (is_colored<std::decay_t<F>>::value) {
        color on = cb.on;
        return then(std::forward<F>(cb).cb, on);
    } else {
        return then(std::forward<F>(cb), the_runtime().default_color());
    }
}

/* True for NULL and 0, which are numbers in C++, and for nullptr. */
template <class F> constexpr bool is_null =
    std::is_integral_v<std::decay_t<F>> || std::is_null_pointer_v<std::decay_t<F>>;

/* The longest delay, in seconds: about 136 years. */
constexpr std::int64_t longest = 4294967295;

/* A timer whose callable frees its handle, because libasync's callers do not. */
template <class F>
timecb_t *arm(const color &on, std::uint64_t delay_ns, F &&cb, site at, const char *call) {
    auto state = std::make_shared<timecb_t>();
    auto fires = [state, cb = std::forward<F>(cb)]() mutable {
        if (dapple_timer *handle = state->take()) dapple_timer_free(handle);
        cb();
    };
    dapple::detail::boxed<decltype(fires)> box(std::move(fires));
    using T = typename decltype(box)::type;
    dapple_timer *made = nullptr;
    dapple::detail::check(
        dapple_post_after_from(on.get(), delay_ns, dapple::detail::run<T>, box.get(),
                               dapple::detail::drop<T>, &made, at.file, at.line),
        call);
    box.given();
    state->armed(made);
    return state.get();
}

}  // namespace detail

/** Posts cb: it is called on the thread of amain or, with cwrap, on any worker. */
template <class F> void cpucb(F &&cb, site at = site::here()) {
    detail::with_color(std::forward<F>(cb), [at](auto &&plain, const color &on) {
        on.post(std::forward<decltype(plain)>(plain), at);
    });
}

/** Calls cb after seconds and nanoseconds. */
template <class F>
timecb_t *delaycb(std::time_t seconds, std::uint32_t nanoseconds, F &&cb,
                  site at = site::here()) {
    std::int64_t whole = seconds < 0 ? 0 : seconds > detail::longest ? detail::longest : seconds;
    std::uint64_t delay = static_cast<std::uint64_t>(whole) * 1000000000u + nanoseconds;
    return detail::with_color(std::forward<F>(cb), [delay, at](auto &&plain, const color &on) {
        return detail::arm(on, delay, std::forward<decltype(plain)>(plain), at, "delaycb");
    });
}
template <class F> timecb_t *delaycb(std::time_t seconds, F &&cb, site at = site::here()) {
    return delaycb(seconds, 0, std::forward<F>(cb), at);
}

/** Calls cb at a time of day. */
template <class F>
timecb_t *timecb(const timespec &when, F &&cb, site at = site::here()) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (when.tv_sec < now.tv_sec) return delaycb(0, 0, std::forward<F>(cb), at);
    std::int64_t whole = std::int64_t{when.tv_sec} - now.tv_sec, part = when.tv_nsec - now.tv_nsec;
    whole -= part < 0 ? 1 : 0;
    part += part < 0 ? 1000000000 : 0;
    if (whole < 0) whole = part = 0;
    return delaycb(whole, static_cast<std::uint32_t>(part), std::forward<F>(cb), at);
}

/** Cancels a timer whose callable has not been called. Call this on the timer's color or, for a
 * timer without a color, on the thread of amain: only there is it certain whether the callable has
 * been called. NULL is ignored. */
inline void timecb_remove(timecb_t *timer) {
    dapple_timer *handle = timer ? timer->take() : nullptr;
    /* The timer may be deleted by this. */
    if (handle) dapple_timer_cancel(handle);
}

/** Calls cb while a descriptor is readable or writable. It replaces the callable that was set
 * before; nullptr only removes it. After that the descriptor may be closed, on the same color. */
template <class F> void fdcb(int fd, selop op, F &&cb, site at = site::here()) {
    if constexpr (detail::is_null<F>) {
        detail::watches::all().clear(fd, op);
    } else {
        detail::with_color(std::forward<F>(cb), [=](auto &&plain, const color &on) {
            detail::watches::all().set(fd, op, [&] {
                return on.on_ready(fd, op, std::forward<decltype(plain)>(plain), at);
            });
        });
    }
}

/** Calls cb when the process gets a signal. It replaces the callable that was set before; nullptr
 * only removes it. */
template <class F> void sigcb(int signal, F &&cb, site at = site::here()) {
    constexpr int kind = detail::watches::a_signal;
    if constexpr (detail::is_null<F>) {
        detail::watches::all().clear(signal, kind);
    } else {
        detail::with_color(std::forward<F>(cb), [=](auto &&plain, const color &on) {
            detail::watches::all().set(signal, kind, [&] {
                return on.on_signal(signal, std::forward<decltype(plain)>(plain), at);
            });
        });
    }
}

}  // namespace async
}  // namespace dapple
#endif
