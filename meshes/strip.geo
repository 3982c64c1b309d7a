// A strip between two plates for walls, [pde] mesh = "strip.msh" with boundary = { left = 1.0, right = 0.0 }: gmsh -2 strip.geo
// The lines of the plates are the physical groups "left" and "right"; the other two sides are insulated.
DefineConstant[
  width = 2.0,        // distance of the plates
  height = 0.5,       // length of the plates; nothing depends on it if the data do not depend on y
  cell_size = 0.08,   // length of the edges in the middle
  plate_size = 0.04   // length of the edges at the plates, where thin layers of charge form
];
SetFactory("Built-in");

Point(1) = {0, 0, 0, plate_size};
Point(2) = {width / 2, 0, 0, cell_size};
Point(3) = {width, 0, 0, plate_size};
Point(4) = {width, height, 0, plate_size};
Point(5) = {width / 2, height, 0, cell_size};
Point(6) = {0, height, 0, plate_size};
Line(1) = {1, 2};
Line(2) = {2, 3};
Line(3) = {3, 4};
Line(4) = {4, 5};
Line(5) = {5, 6};
Line(6) = {6, 1};
Curve Loop(1) = {1, 2, 3, 4, 5, 6};
Plane Surface(1) = {1};

Physical Curve("left") = {6};
Physical Curve("right") = {3};
Physical Surface("strip") = {1};

Mesh.Algorithm = 6;        // Frontal-Delaunay: no negative edge weights
Mesh.ElementOrder = 1;
Mesh.MshFileVersion = 4.1;
