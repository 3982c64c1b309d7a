// Two rooms with a door between them, for coagulation in two dimensions, [pde] mesh = "room.msh": gmsh -2 room.geo
DefineConstant[
  width = 2.0,        // of both rooms together
  height = 1.0,
  door = 0.3,         // width of the opening in the wall between them, at half the height
  wall = 0.1,         // thickness of that wall
  cell_size = 0.06    // length of the edges
];
SetFactory("Built-in");

x1 = (width - wall) / 2;
x2 = (width + wall) / 2;
y1 = (height - door) / 2;
y2 = (height + door) / 2;
Point(1) = {0, 0, 0, cell_size};
Point(2) = {x1, 0, 0, cell_size};
Point(3) = {x1, y1, 0, cell_size};
Point(4) = {x2, y1, 0, cell_size};
Point(5) = {x2, 0, 0, cell_size};
Point(6) = {width, 0, 0, cell_size};
Point(7) = {width, height, 0, cell_size};
Point(8) = {x2, height, 0, cell_size};
Point(9) = {x2, y2, 0, cell_size};
Point(10) = {x1, y2, 0, cell_size};
Point(11) = {x1, height, 0, cell_size};
Point(12) = {0, height, 0, cell_size};
For i In {1 : 11}
  Line(i) = {i, i + 1};
EndFor
Line(12) = {12, 1};
Curve Loop(1) = {1 : 12};
Plane Surface(1) = {1};
Physical Surface("room") = {1};

Mesh.Algorithm = 6;        // Frontal-Delaunay: no negative edge weights
Mesh.ElementOrder = 1;
Mesh.MshFileVersion = 4.1;
