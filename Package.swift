// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
]

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let configuration = Target.Dependency.product(
    name: "Configuration", package: "swift-configuration")
let lifecycle = Target.Dependency.product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(
    name: "UnixSignals", package: "swift-service-lifecycle")
let arguments = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")

// The DRM shim has its own way of linking, which knows no sanitizer: Tests/run-tsan leaves it out.
let hasShim = Context.environment["GPUVM_SANITIZED"] == nil
let shimProducts: [Product] =
    hasShim ? [.library(name: "gpuvm-drm-shim", type: .dynamic, targets: ["DRMShim"])] : []
let shimTargets: [Target] =
    hasShim
    ? [
        // Preloaded into programs that know nothing of us: C, and libc only. The linker's list of
        // run-time libraries is replaced by an empty one; nothing may depend on this target, or it
        // would interpose in that program.
        .target(
            name: "DRMShim", dependencies: ["CWireProtocol"], exclude: ["link"],
            cSettings: [
                .unsafeFlags([
                    "-O2", "-fvisibility=hidden", "-Wall", "-Wextra",
                    "-Wno-missing-field-initializers",
                ])
            ],
            linkerSettings: [
                .unsafeFlags([
                    "-nostartfiles", "-static-stdlib", "-resource-dir",
                    Context.packageDirectory + "/Sources/DRMShim/link",
                ])
            ]),
        .executableTarget(
            name: "DRMShimProbe", dependencies: ["CWireProtocol"],
            path: "Tests/DRMShimTests/Probe"),
        // A DRM program with a known course, for the tests of `gpuvmctl run`.
        .executableTarget(name: "DRMProgram", path: "Tests/DRMProgram"),
        .testTarget(
            name: "DRMShimTests", dependencies: ["DRMShimProbe", "gpuvmctl", "gpuvmd"],
            exclude: ["Probe"], swiftSettings: strict),
    ] : []

// libFuzzer's targets; only the sanitized build of Tests/asan-build can link them.
let isFuzzing = Context.environment["GPUVM_SANITIZED"] == "fuzz"
let fuzzTargets: [Target] =
    isFuzzing
    ? [
        .target(
            name: "CFuzz", dependencies: ["CWireProtocol"], path: "Tests/Fuzz/CFuzz",
            // It compiles the shim's own sources.
            cSettings: [.headerSearchPath("../../../Sources/DRMShim/include")]),
        .executableTarget(
            name: "Fuzz",
            dependencies: [
                "CFuzz", "Device", "GPUVMDaemon", "WireProtocol", "CWireProtocol", "CPlatform",
                "Engines", "PageTables", "Memory", "Fencing", logging,
            ],
            path: "Tests/Fuzz", exclude: ["Corpus", "CFuzz"], swiftSettings: strict,
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer"])]),
    ] : []

let package = Package(
    name: "gpuvmd",
    products: [
        .executable(name: "gpuvmd", targets: ["gpuvmd"]),
        .executable(name: "gpuvmctl", targets: ["gpuvmctl"]),
        .library(name: "GPUVMClient", targets: ["GPUVMClient"]),
        .library(name: "GPUVMCore", targets: ["GPUVMCore"]),
    ] + shimProducts,
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
        .package(
            url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0"),
    ],
    targets: [
        // In the order of the data's way, leaves first; imports point upwards in this list only.
        .target(name: "CPlatform"),
        .target(name: "CWireProtocol"),
        .target(name: "Fencing", dependencies: ["CPlatform"], swiftSettings: strict),
        .target(name: "GPUVMCore", dependencies: ["Fencing"], swiftSettings: strict),
        .target(name: "PageTables", dependencies: ["Fencing"], swiftSettings: strict),
        .target(
            name: "Memory", dependencies: ["GPUVMCore", "PageTables", "Fencing", "CPlatform"],
            swiftSettings: strict),
        .target(name: "Scheduling", dependencies: ["Fencing"], swiftSettings: strict),
        .target(
            name: "Engines", dependencies: ["PageTables", "Fencing", "CWireProtocol", "CPlatform"],
            swiftSettings: strict),
        .target(
            name: "Device",
            dependencies: [
                "Fencing", "GPUVMCore", "PageTables", "Memory", "Scheduling", "Engines",
                "CPlatform",
            ],
            swiftSettings: strict),
        .target(
            name: "WireProtocol", dependencies: ["CWireProtocol", "CPlatform", system],
            swiftSettings: strict),
        .target(
            name: "GPUVMDaemon",
            dependencies: [
                "Device", "WireProtocol", "CWireProtocol", "CPlatform",
                // What the device's interface is spoken in.
                "Fencing", "GPUVMCore", "PageTables", "Memory", "Scheduling", "Engines",
                logging, configuration, lifecycle, signals, system,
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict),
        .target(
            name: "GPUVMClient", dependencies: ["WireProtocol", "Fencing", system],
            swiftSettings: strict),
        .target(name: "VectorTool", dependencies: ["GPUVMCore", "Fencing"], swiftSettings: strict),
        .executableTarget(
            name: "gpuvmd", dependencies: ["GPUVMDaemon", arguments, logging, lifecycle],
            swiftSettings: strict),
        .executableTarget(
            name: "gpuvmctl",
            dependencies: [
                // The private daemon of a run is in the same process.
                "GPUVMClient", "GPUVMDaemon", "VectorTool", "WireProtocol", "Fencing", arguments,
                logging, system,
            ],
            swiftSettings: strict),

        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
        // Explores seeded thread interleavings in a deterministic runtime; a program, because that
        // runtime is the whole process's.
        .target(name: "CInterleavings", path: "Tests/CInterleavings"),
        .executableTarget(
            name: "Interleavings",
            dependencies: [
                "CInterleavings", "TestSupport", "Fencing", "GPUVMCore", "PageTables", "Memory",
                "Engines", "Device", "WireProtocol",
            ],
            path: "Tests/Interleavings", swiftSettings: strict),
        // Counts heap allocations on the signalling path.
        .target(
            name: "AllocationProbe", dependencies: ["CPlatform"], path: "Tests/AllocationProbe"),
        .testTarget(
            name: "FencingTests", dependencies: ["TestSupport", "Fencing", "CPlatform"],
            swiftSettings: strict),
        .testTarget(
            name: "GPUVMCoreTests",
            dependencies: ["TestSupport", "AllocationProbe", "GPUVMCore", "VectorTool", "Fencing"],
            exclude: ["Vectors"], swiftSettings: strict),
        .testTarget(
            name: "PageTablesTests", dependencies: ["TestSupport", "PageTables", "Fencing"],
            swiftSettings: strict),
        .testTarget(
            name: "SchedulingTests", dependencies: ["TestSupport", "Scheduling", "Fencing"],
            swiftSettings: strict),
        .testTarget(
            name: "EnginesTests",
            dependencies: [
                "TestSupport", "Engines", "PageTables", "Scheduling", "WireProtocol", "Fencing",
                "CPlatform",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "DeviceTests",
            dependencies: ["TestSupport", "AllocationProbe", "Device", "WireProtocol"],
            swiftSettings: strict),
        .testTarget(
            name: "NouveauTests",
            dependencies: [
                "TestSupport", "Device", "GPUVMDaemon", "WireProtocol", "CWireProtocol",
                "CPlatform", "Fencing", logging,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "WireProtocolTests",
            dependencies: ["TestSupport", "WireProtocol", "GPUVMClient"],
            swiftSettings: strict),
        .testTarget(
            name: "GPUVMDaemonTests",
            dependencies: [
                "TestSupport", "AllocationProbe", "GPUVMDaemon", "gpuvmd", "Device", "Engines",
                "Fencing", "WireProtocol", "CPlatform", logging,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "GPUVMCtlTests",
            dependencies: [
                "TestSupport", "gpuvmctl", "gpuvmd", "GPUVMDaemon", "GPUVMClient", "WireProtocol",
                "CWireProtocol", logging,
            ] + (hasShim ? ["DRMProgram"] : []),
            swiftSettings: strict),
        // What bad clients can do to a daemon, and what a long life does to it: `make test-hostile`
        // and `make soak`.
        .target(name: "CHostileClients", path: "Tests/CHostileClients"),
        .executableTarget(
            name: "HostileClients",
            dependencies: [
                "CHostileClients", "TestSupport", "GPUVMClient", "WireProtocol", "CWireProtocol",
                "CPlatform", "Fencing", system,
            ],
            path: "Tests/HostileClients", swiftSettings: strict),
        .testTarget(name: "ArchitectureTests", swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "TestSupport",
                "GPUVMDaemon", "GPUVMClient", "Device", "WireProtocol", "CWireProtocol",
                "CPlatform", "Fencing", "gpuvmd", "gpuvmctl",
            ],
            swiftSettings: strict),
    ] + shimTargets + fuzzTargets
)

if isFuzzing {
    // What that build does not run. An optimised WireProtocolTests crashes the compiler (6.3.1), and
    // the decoder's fuzzer does more.
    let left = [
        "gpuvmd", "gpuvmctl", "Interleavings", "CInterleavings", "WireProtocolTests",
        "GPUVMDaemonTests", "GPUVMCtlTests", "ArchitectureTests", "IntegrationTests",
        "HostileClients", "CHostileClients",
    ]
    package.targets.removeAll { left.contains($0.name) }
    package.products = []
}
