// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
]

let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
    name: "gpuvmd",
    products: [
        .library(name: "GPUVMCore", targets: ["GPUVMCore"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0")
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
            name: "Engines", dependencies: ["PageTables", "Fencing", "CWireProtocol"],
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
        .target(name: "VectorTool", dependencies: ["GPUVMCore", "Fencing"], swiftSettings: strict),
        .testTarget(
            name: "FencingTests", dependencies: ["Fencing", "CPlatform"], swiftSettings: strict),
        .testTarget(
            name: "GPUVMCoreTests", dependencies: ["GPUVMCore", "VectorTool", "Fencing"],
            exclude: ["Vectors"], swiftSettings: strict),
        .testTarget(
            name: "PageTablesTests", dependencies: ["PageTables", "Fencing"],
            swiftSettings: strict),
        .testTarget(
            name: "SchedulingTests", dependencies: ["Scheduling", "Fencing"],
            swiftSettings: strict),
        .testTarget(
            name: "EnginesTests",
            dependencies: ["Engines", "PageTables", "Scheduling", "WireProtocol", "Fencing"],
            swiftSettings: strict),
        .testTarget(
            name: "DeviceTests", dependencies: ["Device", "WireProtocol"], swiftSettings: strict),
    ]
)
