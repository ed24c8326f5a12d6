import Foundation
import Glibc
import Testing

/// The preloaded shim in front of the daemon itself, as `gpuvmctl run` puts them together: what the
/// kernel's DRM core, sync_files and dma-bufs answer, errno by errno. The checks are in the probe program.
@Suite("DRM shim and daemon", .serialized)
struct RealDaemonTests {
    private func run(_ name: String) throws -> Fixture.Result {
        try #require(
            access(Fixture.control, X_OK) == 0, "swift build --build-tests makes \(Fixture.control)"
        )
        return try Fixture().run(
            Fixture.control, ["run", "--quiet", "--", Fixture.probe, "real", name],
            preloaded: false, environment: ["GPUVM_SHIM_LIBRARY": Fixture.shim])
    }

    @Test(
        "The daemon answers as the kernel does", .timeLimit(.minutes(2)),
        arguments: [
            // The core.
            "core", "arrays", "syncobjs", "waits", "device-tree",
            // What files give out, and where it goes.
            "idle-sync-files", "sync-files", "buffers", "descriptors-travel", "nested-fences",
        ])
    func behaviour(_ name: String) throws {
        let result = try run(name)
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.hasSuffix("ok\n"), "\(result.output)")
    }

    @Test("Threads, forks and passed descriptors at once", .timeLimit(.minutes(2)))
    func stress() throws {
        let result = try run("stress")
        #expect(result.status == 0 && result.output.hasSuffix("ok\n"), "\(result.output)")
    }

    @Test("Every case of the probe is run here", .timeLimit(.minutes(1)))
    func completeness() throws {
        let listed = try Fixture().run(Fixture.probe, ["list-real"], preloaded: false).output
        #expect(listed.split(separator: "\n").count == 11)
    }
}
