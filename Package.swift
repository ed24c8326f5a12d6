// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "gpuvmd",
    products: [],
    dependencies: [],
    targets: [
        // In the order of the data's way, leaves first; imports point upwards in this list only.
        .target(name: "CPlatform"),
        .target(name: "Fencing", dependencies: ["CPlatform"], swiftSettings: strict),
        .testTarget(
            name: "FencingTests", dependencies: ["Fencing", "CPlatform"], swiftSettings: strict),
    ]
)
