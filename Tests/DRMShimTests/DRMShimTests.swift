import Foundation
import Glibc
import Testing

/// The preloaded shim against a fake daemon: the checks are in the probe program, which runs under
/// it as any program would. Each run ends by itself after a minute at the latest.
@Suite("DRM shim", .serialized)
struct DRMShimTests {
    /// All of the probe's, but for the two that want an environment of their own.
    private static let cases = [
        // The device tree.
        "status", "files", "directories", "opening", "bad-paths", "steps", "libdrm",
        // ioctl and mmap.
        "flat", "nested", "large", "faults", "no-descriptor-left", "descriptors", "mapping",
        "daemon-dies",
        // Processes, threads, signals.
        "forking", "raw-fork", "executing", "passing", "duplicates", "closing-all", "threads",
        "signals", "one-signal",
    ]

    @Test(
        "Paths, descriptors and ioctls are answered as by a kernel",
        .timeLimit(.minutes(2)),
        arguments: cases)
    func behaviour(_ name: String) throws {
        let fixture = try Fixture()
        try fixture.startDaemon()
        let result = try fixture.run(Fixture.probe, ["run", name], preloaded: true)
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.hasSuffix("ok\n"), "\(result.output)")
        if result.output.hasPrefix("skipped") { Fixture.skip("\(name): \(result.output)") }
    }

    @Test("Without a daemon a node is a device that is not there", .timeLimit(.minutes(1)))
    func noDaemon() throws {
        let result = try Fixture().run(Fixture.probe, ["run", "no-daemon"], preloaded: true)
        #expect(result.status == 0, "\(result.output)")
    }

    @Test("GPUVM_SHIM_MASK hides the machine's own DRM devices", .timeLimit(.minutes(1)))
    func mask() throws {
        let result = try Fixture().run(
            Fixture.probe, ["run", "masked"], preloaded: true,
            environment: ["GPUVM_SHIM_MASK": "1"])
        #expect(result.status == 0, "\(result.output)")
    }

    @Test("Every case of the probe is run here", .timeLimit(.minutes(1)))
    func completeness() throws {
        let listed = try Fixture().run(Fixture.probe, ["list"], preloaded: false).output
        #expect(listed.split(separator: "\n").count == Self.cases.count + 2)
    }

    @Test("The shim needs libc and nothing else", .timeLimit(.minutes(1)))
    func libraries() throws {
        let result = try Fixture().run(Fixture.probe, ["needed", Fixture.shim], preloaded: false)
        #expect(result.output == "libc.so.6\n")
    }

    @Test(
        "A program without DRM writes the same bytes with the shim and without",
        .timeLimit(.minutes(1)),
        arguments: [
            ["/bin/ls", "-laR", "/usr/lib/apt", "/etc/apt"],
            ["/bin/cat", "/etc/passwd", "/proc/cpuinfo", "/nonexistent"],
            ["/bin/ls", "/sys/devices/system/cpu", "/sys/class/net", "/sys/kernel"],
            ["/usr/bin/find", "/etc", "-maxdepth", "2"],
            ["/bin/sh", "-c", "echo a | cat; exec 5>&1; echo b >&5; (exit 3); echo $?"],
            ["/usr/bin/python3", "-c", "import os, json; print(sorted(os.listdir('/etc')))"],
        ])
    func unchanged(_ command: [String]) throws {
        guard access(command[0], X_OK) == 0 else {
            return Fixture.skip("this machine has no \(command[0])")
        }
        let fixture = try Fixture()
        let arguments = Array(command.dropFirst())
        let with = try fixture.run(command[0], arguments, preloaded: true)
        let without = try fixture.run(command[0], arguments, preloaded: false)
        // Clock rates move between two readings.
        func stable(_ text: String) -> [Substring] {
            text.split(separator: "\n").filter { !$0.hasPrefix("cpu MHz") }
        }
        #expect(stable(with.output) == stable(without.output))
        #expect(with.status == without.status)
        #expect(!with.output.isEmpty)
    }

    @Test("GPUVM_SHIM_DEBUG explains a call in one line", .timeLimit(.minutes(1)))
    func debug() throws {
        let fixture = try Fixture()
        try fixture.startDaemon()
        let result = try fixture.run(
            Fixture.probe, ["run", "nested"], preloaded: true,
            environment: ["GPUVM_SHIM_DEBUG": "1"])
        #expect(result.status == 0, "\(result.output)")
        let lines = result.output.split(separator: "\n")
        #expect(lines.contains { $0.contains("open(\"/dev/dri/renderD128\", 0x80002) = ") })
        let bind = "NOUVEAU_VM_BIND (0xc0286451)"
        #expect(lines.contains { $0.contains(bind) && $0.hasSuffix(" = 0") })
        #expect(lines.contains { $0.hasSuffix("= -1 ENOENT") && $0.contains("SYNCOBJ_QUERY") })
        #expect(lines.allSatisfy { $0.hasPrefix("gpuvm-shim[") || $0 == "ok" })
    }

    @Test("GPUVM_SHIM_DEBUG names a request that nobody knows", .timeLimit(.minutes(1)))
    func debugUnknown() throws {
        let fixture = try Fixture()
        try fixture.startDaemon()
        let result = try fixture.run(
            Fixture.probe, ["run", "flat"], preloaded: true,
            environment: ["GPUVM_SHIM_DEBUG": "1"])
        #expect(result.status == 0, "\(result.output)")
        let lines = result.output.split(separator: "\n")
        #expect(
            lines.contains {
                $0.contains("an unknown ioctl (0xc010643f)") && $0.hasSuffix("= -1 EINVAL")
            })
    }

    @Test(
        "It works under a debugger and a tracer", .timeLimit(.minutes(2)),
        arguments: [
            ["/usr/bin/strace", "-f", "-o", "/dev/null"],
            ["/usr/bin/gdb", "-q", "-batch", "-ex", "run", "--args"],
        ])
    func tracers(_ tracer: [String]) throws {
        guard access(tracer[0], X_OK) == 0 else {
            return Fixture.skip("this machine has no \(tracer[0])")
        }
        let fixture = try Fixture()
        try fixture.startDaemon()
        let result = try fixture.run(
            tracer[0], Array(tracer.dropFirst()) + [Fixture.probe, "run", "faults"],
            preloaded: true)
        #expect(result.output.contains("ok\n"), "\(result.output)")
        #expect(!result.output.contains("SIGSEGV"))
    }

    @Test("The cost of calls that are none of DRM's is printed", .timeLimit(.minutes(1)))
    func calls() throws {
        let names = ["ioctl", "open and close", "stat", "fstat"]
        // With the shim and without in turn, so that both meet the same load.
        var samples: [Bool: [[Double]]] = [:]
        for round in 0..<6 {
            let isPreloaded = round % 2 == 0
            let result = try Fixture().run(Fixture.probe, ["calls"], preloaded: isPreloaded)
            #expect(result.status == 0, "\(result.output)")
            let line = result.output.split(whereSeparator: \.isWhitespace).compactMap(Double.init)
            try #require(line.count == names.count)
            samples[isPreloaded, default: []].append(line)
        }
        for (index, name) in names.enumerated() {
            func median(_ isPreloaded: Bool) -> Double {
                (samples[isPreloaded] ?? []).map { $0[index] }.sorted()[1]
            }
            print("\(name): \(median(true)) ns with the shim, \(median(false)) ns without")
        }
    }

    @Test("The cost of starting a program under the shim is printed", .timeLimit(.minutes(1)))
    func startup() throws {
        let result = try Fixture().run(Fixture.probe, ["startup", Fixture.shim], preloaded: false)
        #expect(result.status == 0)
        print("start-up of /bin/true, median:", result.output, terminator: "")
    }
}
