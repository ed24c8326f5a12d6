import Foundation
import Testing

@testable import GPUVMDaemon

/// The files of `systemd/` against the daemon that they describe.
@Suite struct UnitFileTests {
    /// The settings of a unit file, each with all its values.
    private func settings(_ name: String) throws -> [String: [String]] {
        let folder = URL(filePath: committedConfigurationPath).deletingLastPathComponent()
        let text = try contents(of: folder.appending(path: "../systemd/\(name)").path)
        var settings: [String: [String]] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let equals = line.firstIndex(of: "=") else { continue }
            settings[String(line[..<equals]), default: []].append(
                String(line[line.index(after: equals)...]))
        }
        return settings
    }

    @Test func theSocketIsWhereClientsLook() throws {
        let socket = try settings("gpuvmd.socket")
        #expect(socket["ListenSequentialPacket"] == [SocketLocation.system])
        let mode = try #require(socket["SocketMode"]?.first)
        #expect(UInt32(mode, radix: 8) == DaemonConfiguration().socket.mode)
        #expect(socket["SocketGroup"] == ["gpuvm"])
        #expect(try contents(of: sysusers).contains("\ng gpuvm "))
    }

    private var sysusers: String {
        committedConfigurationPath.replacing(
            "Config/gpuvmd.yaml", with: "systemd/gpuvmd.sysusers")
    }

    @Test func theDescriptorsSufficeForAllClients() throws {
        let limit = try #require(try settings("gpuvmd.service")["LimitNOFILE"]?.first)
        let descriptors = try #require(Int(limit))
        let configuration = DaemonConfiguration()
        // No quota is lowered, and all clients together fit, each with its connection.
        #expect(configuration.fitted(toDescriptorLimit: descriptors) == configuration)
        let each = configuration.quotas.bos + configuration.quotas.fenceDescriptors + 1
        #expect(configuration.limits.maxClients * each + 64 <= descriptors)
    }

    @Test func threadsSufficeForAllConnections() throws {
        let limit = try #require(try settings("gpuvmd.service")["TasksMax"]?.first)
        let tasks = try #require(Int(limit))
        // The largest limits.max_clients, engines, bind workers, and the daemon's own.
        #expect(4096 + 16 + 8 + 32 <= tasks)
    }

    @Test func whatARestartDoesNotCureEndsIt() throws {
        let service = try settings("gpuvmd.service")
        #expect(
            service["RestartPreventExitStatus"] == [
                "\(ExitStatus.usage.rawValue) \(ExitStatus.configuration.rawValue)"
            ])
        #expect(service["Type"] == ["notify"])
        // Peers of other user namespaces would have no credentials.
        #expect(service["PrivateUsers"] == nil)
        #expect(service["ExecStart"] == ["@BINDIR@/gpuvmd"])
    }
}
