// dapple.hpp: each part checks, and says "ok".
#include "parts.h"

#include <dapple.hpp>

#include <cassert>
#include <csignal>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;


// Says when it is gone, and that nobody has copied it.
struct token {
    std::atomic<int> *gone;
    explicit token(std::atomic<int> &count) : gone(&count) {}
    token(token &&other) noexcept : gone(std::exchange(other.gone, nullptr)) {}
    ~token() { if (gone) ++*gone; }
};

static dapple::options two_workers() {
    dapple::options options;
    options.workers = 2;
    return options;
}

static void posts() {
    dapple::runtime rt(two_workers());
    CHECK(rt.workers() == 2);
    dapple::color color(rt, "posts");
    std::atomic<int> gone{0};
    int ran = 0;
    for (int n = 0; n < 1000; n++)
        color.post([&, n, t = token(gone)] {
            CHECK(color.is_current() && ran++ == n);
            CHECK(gone == n);
        });
    std::atomic<int> beside{0};
    for (int n = 0; n < 100; n++) color.post_shared([&] { beside++; });
    rt.post_uncolored([&, owned = std::make_unique<int>(1)] { beside += *owned; });
    rt.wait_idle();
    CHECK(ran == 1000 && gone == 1000 && beside == 101);
    dapple::color same = color, other(rt);
    CHECK(same == color && same != other);
    other = same;
    CHECK(other == color);
    dapple::color ada = rt.color_of_key("ada", 3);
    CHECK(ada == rt.color_of_key("ada", 3) && ada != rt.color_of_key("bob", 3));
    long a = 0, b = 0;
    for (int n = 0; n < 100; n++) dapple::post_set({{color}, {ada}}, [&] { a--, b++; });
    dapple::post_set({{ada, true}, {color, true}}, [&] {
        CHECK(a == -100 && b == 100);
        beside = 0;
    });
    rt.wait_idle();
    CHECK(beside == 0);
    CHECK(rt.shutdown(1s));
}

static void bounds() {
    dapple::runtime rt(two_workers());
    dapple::color_options options;
    options.capacity = 1;
    dapple::color color(rt, options);
    std::atomic<bool> go{false};
    std::atomic<int> gone{0};
    CHECK(color.try_post([&] { while (!go) std::this_thread::sleep_for(1ms); }));
    CHECK(!color.try_post([t = token(gone)] {}));
    CHECK(gone == 1);
    go = true;
    rt.wait_idle();
}

static void timers() {
    dapple::runtime rt(two_workers());
    dapple::color color(rt);
    std::atomic<int> fired{0}, gone{0}, ticks{0};
    auto before = std::chrono::steady_clock::now();
    dapple::timer once = color.post_after(5ms, [&, t = token(gone)] {
        CHECK(std::chrono::steady_clock::now() - before >= 5ms);
        fired++;
    });
    dapple::timer never = color.post_after(1h, [&, t = token(gone)] { fired++; });
    CHECK(never.cancel() && !never.cancel());
    dapple::timer tick = color.every(1ms, [&] { ticks++; });
    while (fired < 1 || ticks < 3 || gone < 2) std::this_thread::sleep_for(1ms);
    CHECK(tick.cancel() && !once.cancel() && fired == 1);
}

static void descriptors() {
    dapple::runtime rt(two_workers());
    dapple::color color(rt);
    int ends[2];
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
    std::string got;
    std::atomic<int> gone{0}, signals{0}, worked{0};
    dapple::watch watch = color.on_ready(ends[0], DAPPLE_READABLE, [&, t = token(gone)](int what) {
        char byte;
        CHECK(what & DAPPLE_READABLE);
        if (read(ends[0], &byte, 1) == 1) got += byte;
        if (got == "abc") rt.stop();
    });
    CHECK(write(ends[1], "abc", 3) == 3);
    rt.run();
    watch.end();
    rt.wait_idle();
    CHECK(gone == 1);
    dapple::watch usr1 = color.on_signal(SIGUSR1, [&] { signals++; });
    std::raise(SIGUSR1);
    while (!signals) std::this_thread::sleep_for(1ms);
    color.offload([&] { worked = 1; }, [&, owned = std::make_unique<int>(2)] { worked = *owned; });
    rt.wait_idle();
    CHECK(worked == 2);
    try {
        auto wrong = color.on_ready(-1, DAPPLE_READABLE, [t = token(gone)] {});
        CHECK(false);
    } catch (const std::system_error &error) {
        CHECK(error.code().value() == EBADF && gone == 2);
    }
    close(ends[0]), close(ends[1]);
}

// ---- libasync's names
static void libasync() {
    using namespace dapple::async;
    static std::thread::id me = std::this_thread::get_id();
    static int ends[2], step;
    static std::atomic<int> gone{0}, elsewhere{0};
    static timecb_t *never;
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
    never = delaycb(3600, [t = token(gone)] { CHECK(false); });
    delaycb(0, 3000000, [] {
        CHECK(std::this_thread::get_id() == me && step++ == 0);
        timecb_remove(never);
        timecb_remove(nullptr);
        timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        timecb(soon, [] {
            CHECK(step++ == 1 && std::this_thread::get_id() == me);
            CHECK(write(ends[1], "x", 1) == 1);
        });
    });
    fdcb(ends[0], selread, [] {
        char byte;
        CHECK(step++ == 2 && std::this_thread::get_id() == me);
        CHECK(read(ends[0], &byte, 1) == 1);
        fdcb(ends[0], selread, nullptr);
        fdcb(ends[0], selread, NULL);
        fdcb(ends[0], selwrite, [] {
            CHECK(step++ == 3);
            fdcb(ends[0], selwrite, nullptr);
            sigcb(SIGUSR2, [] {
                CHECK(step++ == 4);
                sigcb(SIGUSR2, nullptr);
                static dapple::color color(the_runtime(), "crypto");
                static std::atomic<int> left{50};
                for (int n = 0; n < 50; n++)
                    cpucb(cwrap([] {
                        CHECK(color.is_current());
                        if (std::this_thread::get_id() != me) elsewhere++;
                        if (--left == 0) cpucb([] { the_runtime().stop(); });
                    }, color));
            });
            std::raise(SIGUSR2);
        });
    });
    amain();
    static std::atomic<int> kept{0};
    const auto stored = cwrap([] { kept++; }, dapple::color(the_runtime(), "stored"));
    auto again = stored;
    for (int n = 0; n < 10; n++) cpucb(stored), cpucb(again), delaycb(0, stored);
    while (kept < 30) the_runtime().turn(1ms);
    the_runtime().wait_idle();
    CHECK(step == 5 && gone == 1);
    // Many timers that fire while they are made, and that are removed by turns.
    static std::atomic<int> fired{0};
    dapple::color other(the_runtime());
    for (int n = 0; n < 2000; n++) {
        delaycb(0, 0, cwrap([t = token(gone)] { fired++; }, other));
        timecb_remove(delaycb(3600, 0, cwrap([t = token(gone)] { CHECK(false); }, other)));
    }
    while (fired < 2000 || gone < 4001) the_runtime().turn(1ms);
}

PARTS({"posts", posts}, {"bounds", bounds}, {"timers", timers}, {"descriptors", descriptors},
      {"libasync", libasync});
int main(int argc, char **argv) { return run_part(argc, argv, parts); }
