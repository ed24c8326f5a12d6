import ArgumentParser
import CWireProtocol
import GPUVMClient
import SystemPackage

/// `gpuvmctl vm …`.
struct VMCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vm", abstract: "Looks at the GPU VMs.",
        subcommands: [List.self, Show.self, Map.self, Walk.self, Dump.self])

    /// `gpuvmctl vm list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists the GPU VMs and their page tables.")

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                VMReport.list(try connection.vms())
            }
        }
    }

    /// `gpuvmctl vm show ID`.
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show",
            abstract: "Lists a VM's mappings, with the columns of the kernel's debugfs gpuvas.")

        @Argument(help: "The VM's id, as in `vm list`.")
        var id: UInt32

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                let vm = try VMCommand.find(id, connection)
                return VMReport.show(
                    vm, try connection.mappings(ofVM: id),
                    sparse: try VMCommand.sparseRegions(id, connection))
            }
        }
    }

    /// `gpuvmctl vm walk ID ADDRESS`.
    struct Walk: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "walk",
            abstract: "Shows how a VM's page tables translate an address, level by level.",
            discussion: """
                For a VM of the nouveau personality the entries are NVIDIA's, with the names and fields \
                of NVIDIA's MMU documentation.
                """)

        @Argument(help: "The VM's id, as in `vm list`.")
        var id: UInt32

        @Argument(help: "The GPU virtual address: decimal, or hexadecimal with 0x.")
        var address: Address

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                let walk = try connection.walk(vm: id, address: address.value)
                return WalkReport.report(
                    vm: id, address: address.value, walk, way: try way(connection))
            }
        }

        /// A daemon of protocol 1.1 or older has the walk alone.
        private func way(_ connection: Connection) throws(ClientError) -> PageTableDump? {
            do throws(ClientError) {
                return try connection.pageTables(ofVM: id, onWayTo: address.value)
            } catch {
                guard error.code == .notSupportedOnSocket || error.code == .notSupported else {
                    throw error
                }
                return nil
            }
        }
    }

    /// `gpuvmctl vm dump ID`.
    struct Dump: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "dump",
            abstract: "Prints the entries of a VM's page tables, raw and taken apart.",
            discussion: """
                Every entry that is not zero: the first address that it is for, its place and its \
                eight bytes. Those of a VM of the nouveau personality are NVIDIA's (NV_MMU_VER2 of \
                GP100 and later), with NVIDIA's names of the fields.
                """)

        @Argument(help: "The VM's id, as in `vm list`.")
        var id: UInt32

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                TableReport.dump(vm: id, try connection.pageTables(ofVM: id))
            }
        }
    }

    /// The sparse regions, which a daemon of protocol 1.1 does not tell.
    static func sparseRegions(
        _ id: UInt32, _ connection: Connection
    ) throws(ClientError) -> [gpuvm_va_range] {
        connection.server.minor >= 2 ? try connection.sparseRegions(ofVM: id) : []
    }

    static func find(
        _ id: UInt32, _ connection: Connection
    ) throws(ClientError) -> gpuvm_vm_record {
        guard let vm = try connection.vms().first(where: { $0.id == id }) else {
            throw ClientError(
                .noSuchFileOrDirectory, .vmShow,
                "there is no VM \(id) that you may see: `gpuvmctl vm list` shows the ids")
        }
        return vm
    }
}

/// A GPU virtual address on the command line.
struct Address: ExpressibleByArgument {
    var value: UInt64

    init(value: UInt64) {
        self.value = value
    }

    init?(argument: String) {
        let isHexadecimal = argument.hasPrefix("0x") || argument.hasPrefix("0X")
        let digits = isHexadecimal ? argument.dropFirst(2) : argument[...]
        guard let value = UInt64(digits, radix: isHexadecimal ? 16 : 10) else { return nil }
        self.value = value
    }

    var defaultValueDescription: String { hex(value) }
}
