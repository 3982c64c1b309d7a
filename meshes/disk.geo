// A disk for [pde] mesh = "disk.msh": gmsh -2 disk.geo
// Change the numbers here or on the command line: gmsh -2 -setnumber radius 10 -setnumber cell_size 0.2 disk.geo
DefineConstant[
  radius = 8.0,       // of the disk; less than 1e-6 of the mass should come beyond 0.9 radius
  cell_size = 0.4,    // length of the edges at the circle
  core_size = 0.4     // length of the edges at the centre; less than cell_size where the densities need it
];
SetFactory("Built-in");

Point(1) = {0, 0, 0, core_size};
Point(2) = {radius, 0, 0, cell_size};
Point(3) = {0, radius, 0, cell_size};
Point(4) = {-radius, 0, 0, cell_size};
Point(5) = {0, -radius, 0, cell_size};
Circle(1) = {2, 1, 3};
Circle(2) = {3, 1, 4};
Circle(3) = {4, 1, 5};
Circle(4) = {5, 1, 2};
Curve Loop(1) = {1, 2, 3, 4};
Plane Surface(1) = {1};
Point{1} In Surface{1};

Mesh.Algorithm = 6;        // Frontal-Delaunay: no negative edge weights; the default algorithm leaves some
Mesh.ElementOrder = 1;
Mesh.MshFileVersion = 4.1;
