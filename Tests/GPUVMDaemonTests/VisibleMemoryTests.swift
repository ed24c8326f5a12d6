import Device
import Testing

@testable import GPUVMDaemon

/// `device.visible_vram`: how much of VRAM the CPU reaches.
@Suite struct VisibleMemoryTests {
    private func load(
        _ yaml: String, _ environment: [String: String] = [:]
    ) throws -> DaemonConfiguration {
        try ConfigurationLoader.parse(yaml, name: "test.yaml", environment: environment)
    }

    private func problem(
        _ yaml: String, _ environment: [String: String] = [:]
    ) -> String? {
        do {
            _ = try load(yaml, environment)
            return nil
        } catch {
            return "\(error)"
        }
    }

    @Test func allOfVRAMIsVisibleUnlessItIsSaid() throws {
        #expect(DaemonConfiguration().device.visibleVRAM == nil)
        let defaults = DeviceSessions.deviceConfiguration(DaemonConfiguration())
        #expect(defaults.visibleVRAMBytes == nil)
        let small = try load("device:\n  vram: 64MiB\n  visible_vram: 16MiB\n")
        #expect(small.device.visibleVRAM == 16_777_216)
        let device = DeviceSessions.deviceConfiguration(small)
        #expect(device.visibleVRAMBytes == 16_777_216 && device.vramBytes == 67_108_864)
        #expect(try load("device:\n  vram: 64MiB\n  visible_vram: 64MiB\n").device.vram == 64 << 20)
    }

    @Test func itIsAtMostVRAM() {
        #expect(
            problem("device:\n  vram: 64MiB\n  visible_vram: 66MiB\n") == """
                test.yaml:3:17: device.visible_vram: "66MiB" is not allowed; expected at most \
                device.vram, which is 64MiB
                """)
        // Whatever the order, and wherever the other one was said.
        #expect(problem("device:\n  visible_vram: 66MiB\n  vram: 64MiB\n") != nil)
        let fromEnvironment = problem(
            "device:\n  visible_vram: 66MiB\n", ["GPUVM_DEVICE_VRAM": "64MiB"])
        #expect(fromEnvironment?.hasPrefix("test.yaml:2:17: device.visible_vram") == true)
        let override = problem(
            "device:\n  vram: 64MiB\n", ["GPUVM_DEVICE_VISIBLE_VRAM": "128MiB"])
        #expect(
            override?.hasPrefix(
                "environment variable GPUVM_DEVICE_VISIBLE_VRAM: device.visible_vram") == true)
        // A wrong VRAM is the one thing to complain about.
        let both = problem("device:\n  vram: 1MiB\n  visible_vram: 66MiB\n")
        #expect(both?.contains("visible_vram") == false)
    }

    @Test func whatIsNotSetIsPrintedAsAComment() {
        let yaml = ConfigurationPrinter.yaml(DaemonConfiguration())
        #expect(yaml.contains("Not set: visible_vram takes a size from 2MiB to 1TiB"))
        #expect(!yaml.contains("\n  visible_vram:"))
        var configuration = DaemonConfiguration()
        configuration.device.visibleVRAM = 6 << 20
        #expect(ConfigurationPrinter.yaml(configuration).contains("\n  visible_vram: 6MiB\n"))
    }
}
